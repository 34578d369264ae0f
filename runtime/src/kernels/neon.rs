//! Kernels for AArch64: 128-bit registers, two of which hold the eight rows of a tile.
//!
//! What is missing here is `scalar`'s: every AArch64 compiler uses the vector unit for it already.

mod act;
mod asm;
pub(super) mod dotprod;
mod dots;
mod elementwise;
pub(super) mod i8mm;
mod products;

use super::attention::{CacheI8, Partials, QueriesI8};
use super::product::matmul;
use super::{Activation, Kernels, attend, float, quantise, scalar};
use crate::isa::{Isa, Neon, neon_entry};
use crate::tensor::{Acts, ActsMut, Matrix, Outputs};
use products::{Q4, Q8};

/// The table, against the proof that this machine can run it.
pub(super) fn kernels(_cpu: Neon) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over: their tokens exist only where this one's does, and nothing but
/// tables may be made of it.
pub(super) const KERNELS: Kernels = Kernels {
    isa: Isa::Neon,
    quantise,
    quantise_heads,
    subtract,
    matmul_q4,
    matmul_q8,
    matmul_f16,
    matmul_f32,
    activate,
    activate_gated,
    attend_i8,
    ..scalar::KERNELS
};

neon_entry! {
    fn quantise(x: &[f32], out: &mut ActsMut<'_>) = quantise::quantise::<act::NeonQuants>;
    fn quantise_heads(x: &[f32], scales: &mut [f32], quants: &mut [i8]) = quantise::quantise_heads::<act::NeonQuants>;
    fn subtract(acts: &Acts<'_>, x: &mut [f32]) = act::subtract;
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<products::smull::Smull>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<products::smull::Smull>>;
    fn matmul_f16(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) = float::matmul_f16::<dots::Pair>;
    fn matmul_f32(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) = float::matmul_f32::<dots::Pair>;
    fn activate(f: Activation, x: &mut [f32]) = elementwise::activate;
    fn activate_gated(f: Activation, up: &[f32], gate: &mut [f32]) = elementwise::activate_gated;
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<dots::NeonDots<dots::smull::Smull>>;
}
