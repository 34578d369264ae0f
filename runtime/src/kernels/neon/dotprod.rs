//! The table for AArch64 with `FEAT_DotProd`.

use crate::isa::{DotProd, Isa};
use crate::kernels::{Kernels, neon};

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: DotProd) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over.
pub(super) const KERNELS: Kernels = Kernels { isa: Isa::DotProd, ..neon::KERNELS };
