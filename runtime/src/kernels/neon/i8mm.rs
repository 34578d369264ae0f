//! The table for AArch64 with `FEAT_I8MM`.

use super::dotprod;
use super::dots::{self, NeonDots};
use super::products::{self, Q4, Q8};
use crate::isa::{I8mm, Isa, i8mm_entry};
use crate::kernels::attention::{CacheI8, Partials, QueriesI8};
use crate::kernels::product::matmul;
use crate::kernels::{Kernels, attend};
use crate::tensor::{Acts, Matrix, Outputs};

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: I8mm) -> &'static Kernels {
    static TABLE: Kernels = Kernels { isa: Isa::I8mm, matmul_q4, matmul_q8, attend_i8, ..dotprod::KERNELS };
    &TABLE
}

i8mm_entry! {
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<products::smmla::Smmla>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<products::smmla::Smmla>>;
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<NeonDots<dots::smmla::Smmla>>;
}
