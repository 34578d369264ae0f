//! AVX2 kernels: 256-bit registers whose eight 32-bit lanes are the eight rows of a tile.
//!
//! Products, the integer primitives of attention and the quantising of activations are written by hand; the rest is
//! the bodies of [`super::lanes`], compiled with this instruction set.

mod act;
pub(super) mod dots;
mod q4;
mod q8;

use super::product::matmul;
use super::{Kernels, attend, float, lane_entries, quantise};
use crate::isa::{Avx2, Isa, avx2_entry};
use crate::kernels::attention::{CacheF32, CacheI8, Partials, QueriesF32, QueriesI8};
use crate::tensor::{Acts, ActsMut, Matrix, Outputs};
use core::arch::x86_64::{__m256, __m256i, _mm256_loadu_si256, _mm256_storeu_ps};
use kinglet_quant::LANES;

/// The table, against the proof that this machine can run it.
pub(super) fn kernels(_cpu: Avx2) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over: their tokens exist only where this one's does, and nothing but
/// tables may be made of it.
pub(super) const KERNELS: Kernels = Kernels {
    isa: Isa::Avx2,
    quantise,
    quantise_heads,
    subtract,
    matmul_q4,
    matmul_q8,
    matmul_f16,
    matmul_f32,
    rms_norm,
    layer_norm,
    rope,
    activate,
    activate_gated,
    add,
    attend_i8,
    attend_f32,
    merge,
};

avx2_entry! {
    fn quantise(x: &[f32], out: &mut ActsMut<'_>) = quantise::quantise::<act::Avx2Quants>;
    fn quantise_heads(x: &[f32], scales: &mut [f32], quants: &mut [i8]) = quantise::quantise_heads::<act::Avx2Quants>;
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<q4::Q4>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<q8::Q8>;
    fn matmul_f16(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) = float::matmul_f16::<dots::Ymm>;
    fn matmul_f32(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) = float::matmul_f32::<dots::Ymm>;
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<dots::Avx2Dots>;
    fn attend_f32(cache: &CacheF32<'_>, queries: &QueriesF32<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_f32;
    fn merge(later: &Partials<'_>, out: &mut Partials<'_>) = attend::merge;
}

lane_entries!(avx2_entry);

/// Thirty-two bytes of memory.
#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array has the 32 bytes; the instruction takes any address.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// The lanes in memory order.
#[inline]
#[target_feature(enable = "avx2")]
fn to_lanes(v: __m256) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    // SAFETY: the array has room for 8 floats; the instruction takes any address.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), v) };
    lanes
}

/// Shuffles that turn the 16 block scales of a unit, held in both halves of a register, into the pair `(s, s)` of
/// 16-bit numbers in every row's lane: of block 0, of block 1.
const SPREAD: [[u8; 32]; 2] = [spread(0), spread(1)];

const fn spread(block: usize) -> [u8; 32] {
    const ZERO: u8 = 0x80;
    let mut bytes = [ZERO; 32];
    let mut row = 0;
    while row < LANES {
        let scale = (LANES * block + row) as u8;
        bytes[4 * row] = scale;
        bytes[4 * row + 2] = scale;
        row += 1;
    }
    bytes
}
