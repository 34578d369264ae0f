//! Kernels for AArch64: 128-bit registers, two of which hold the eight rows of a tile.
//!
//! The float kernels are those of `scalar`: every AArch64 compiler uses the vector unit for them already.

mod asm;
pub(super) mod dotprod;
pub(super) mod i8mm;
mod products;
mod smull;

use super::product::matmul;
use super::{Kernels, scalar};
use crate::isa::{Isa, Neon, neon_entry};
use crate::tensor::{Acts, Matrix, Outputs};
use products::{Q4, Q8};
use smull::Smull;

/// The table, against the proof that this machine can run it.
pub(super) fn kernels(_cpu: Neon) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over: their tokens exist only where this one's does, and nothing but
/// tables may be made of it.
pub(super) const KERNELS: Kernels = Kernels { isa: Isa::Neon, matmul_q4, matmul_q8, ..scalar::KERNELS };

neon_entry! {
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<Smull>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<Smull>>;
}
