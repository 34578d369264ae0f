//! Kernels for AArch64: 128-bit registers, two of which hold the eight rows of a tile.
//!
//! The float kernels are those of `scalar`: every AArch64 compiler uses the vector unit for them already.

pub(super) mod dotprod;
pub(super) mod i8mm;

use super::{Kernels, scalar};
use crate::isa::{Isa, Neon};

/// The table, against the proof that this machine can run it.
pub(super) fn kernels(_cpu: Neon) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over: their tokens exist only where this one's does, and nothing but
/// tables may be made of it.
pub(super) const KERNELS: Kernels = Kernels { isa: Isa::Neon, ..scalar::KERNELS };
