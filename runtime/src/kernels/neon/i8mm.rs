//! The table for AArch64 with `FEAT_I8MM`.

use super::dotprod;
use super::dots::{NeonDots, smmla::Smmla};
use crate::isa::{I8mm, Isa, i8mm_entry};
use crate::kernels::attention::{CacheI8, Partials, QueriesI8};
use crate::kernels::{Kernels, attend};

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: I8mm) -> &'static Kernels {
    static TABLE: Kernels = Kernels { isa: Isa::I8mm, attend_i8, ..dotprod::KERNELS };
    &TABLE
}

i8mm_entry! {
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<NeonDots<Smmla>>;
}
