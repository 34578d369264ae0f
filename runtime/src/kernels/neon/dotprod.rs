//! The table for AArch64 with `FEAT_DotProd`.

use super::dots::{self, NeonDots};
use super::products::{self, Q4, Q8};
use crate::isa::{DotProd, Isa, dotprod_entry};
use crate::kernels::attention::{CacheI8, Partials, QueriesI8};
use crate::kernels::product::matmul;
use crate::kernels::{Kernels, attend, neon};
use crate::tensor::{Acts, Matrix, Outputs};

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: DotProd) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over.
pub(super) const KERNELS: Kernels = Kernels { isa: Isa::DotProd, matmul_q4, matmul_q8, attend_i8, ..neon::KERNELS };

dotprod_entry! {
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<products::sdot::Sdot>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<products::sdot::Sdot>>;
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<NeonDots<dots::sdot::Sdot>>;
}
