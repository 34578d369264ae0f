//! The table for AArch64 with `FEAT_I8MM`.

use super::dotprod;
use crate::isa::{I8mm, Isa};
use crate::kernels::Kernels;

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: I8mm) -> &'static Kernels {
    static TABLE: Kernels = Kernels { isa: Isa::I8mm, ..dotprod::KERNELS };
    &TABLE
}
