//! The table for AArch64 with `FEAT_DotProd`.

use super::dots::{NeonDots, sdot::Sdot};
use crate::isa::{DotProd, Isa, dotprod_entry};
use crate::kernels::attention::{CacheI8, Partials, QueriesI8};
use crate::kernels::{Kernels, attend, neon};

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: DotProd) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over.
pub(super) const KERNELS: Kernels = Kernels { isa: Isa::DotProd, attend_i8, ..neon::KERNELS };

dotprod_entry! {
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<NeonDots<Sdot>>;
}
