//! The table for AVX-VNNI, and its 256-bit [`Vector`].

use super::dots::VnniDots;
use super::{Vector, q4::Q4, q8::Q8};
use crate::isa::{AvxVnni, Isa, avxvnni_entry};
use crate::kernels::attention::{CacheI8, Partials, QueriesI8};
use crate::kernels::product::matmul;
use crate::kernels::{Kernels, attend, avx2};
use crate::tensor::{Acts, Matrix, Outputs};
use core::arch::x86_64::*;
use kinglet_quant::LANES;

/// The table, against the proof that this machine can run it: what has no dot product is that of AVX2.
pub(in crate::kernels) fn kernels(_cpu: AvxVnni) -> &'static Kernels {
    static KERNELS: Kernels = Kernels { isa: Isa::AvxVnni, matmul_q4, matmul_q8, attend_i8, ..avx2::KERNELS };
    &KERNELS
}

avxvnni_entry! {
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<Ymm>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<Ymm>>;
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<VnniDots<Ymm>>;
}

/// See [`Vector`].
#[derive(Clone, Copy)]
struct Ymm(__m256i);

#[expect(unsafe_op_in_unsafe_fn, reason = "each method is an instruction or two, under the one duty that the trait states")]
impl Vector for Ymm {
    type Floats = __m256;
    const TILES: usize = 1;
    const TOKENS: usize = 4;
    const ROWS: usize = 4;
    const SIDE_BY_SIDE: usize = 2;
    const NARROWS: bool = false;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(_mm256_setzero_si256())
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        Self(_mm256_set1_epi32(value))
    }

    #[inline(always)]
    unsafe fn store(self, out: *mut i32) {
        _mm256_storeu_si256(out.cast(), self.0);
    }

    #[inline(always)]
    unsafe fn load(tile: *const u8, _: usize) -> Self {
        Self(_mm256_loadu_si256(tile.cast()))
    }

    #[inline(always)]
    unsafe fn load_u8(tile: *const u8, _: usize) -> Self {
        Self(_mm256_cvtepu8_epi32(_mm_loadl_epi64(tile.cast())))
    }

    #[inline(always)]
    unsafe fn load_u8_pairs(tile: *const u8, _: usize) -> Self {
        Self(_mm256_cvtepu8_epi16(_mm_loadu_si128(tile.cast())))
    }

    #[inline(always)]
    unsafe fn interleave_u8(tile: *const u8, _: usize) -> Self {
        let pairs = _mm_unpacklo_epi8(_mm_loadl_epi64(tile.cast()), _mm_loadl_epi64(tile.add(8).cast()));
        Self(_mm256_cvtepu8_epi16(pairs))
    }

    #[inline(always)]
    unsafe fn shift_left<const BITS: u32>(self) -> Self {
        Self(_mm256_sll_epi32(self.0, _mm_cvtsi32_si128(BITS as i32)))
    }

    #[inline(always)]
    unsafe fn minus(self, a: Self) -> Self {
        Self(_mm256_sub_epi32(self.0, a.0))
    }

    #[inline(always)]
    unsafe fn plus_128(self) -> Self {
        Self(_mm256_xor_si256(self.0, _mm256_set1_epi8(i8::MIN)))
    }

    #[inline(always)]
    unsafe fn low_nibbles(self) -> Self {
        Self(_mm256_and_si256(self.0, _mm256_set1_epi8(15)))
    }

    #[inline(always)]
    unsafe fn high_nibbles(self) -> Self {
        Self(_mm256_and_si256(_mm256_srli_epi16(self.0, 4), _mm256_set1_epi8(15)))
    }

    #[inline(always)]
    unsafe fn add_dot4(self, w: Self, x: *const i8) -> Self {
        Self(_mm256_dpbusd_avx_epi32(self.0, w.0, _mm256_set1_epi32(x.cast::<i32>().read_unaligned())))
    }

    #[inline(always)]
    unsafe fn add_unsigned_dot4(self, u: *const u8, w: Self) -> Self {
        Self(_mm256_dpbusd_avx_epi32(self.0, _mm256_set1_epi32(u.cast::<i32>().read_unaligned()), w.0))
    }

    #[inline(always)]
    unsafe fn add_dot2(self, w: Self, x: *const i16) -> Self {
        Self(_mm256_dpwssd_avx_epi32(self.0, w.0, _mm256_set1_epi32(x.cast::<i32>().read_unaligned())))
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        Self(_mm256_add_epi32(self.0, _mm256_mullo_epi32(a.0, b.0)))
    }

    #[inline(always)]
    unsafe fn zero_floats() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline(always)]
    unsafe fn load_floats(tile: *const u8, _: usize) -> __m256 {
        _mm256_loadu_ps(tile.cast())
    }

    #[inline(always)]
    unsafe fn add_scaled(self, sum: __m256, scale: f32) -> __m256 {
        _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(self.0), _mm256_set1_ps(scale)))
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn to_tiles(floats: __m256) -> [[f32; LANES]; 2] {
        let mut lanes = [[0.0; LANES]; 2];
        _mm256_storeu_ps(lanes[0].as_mut_ptr(), floats);
        lanes
    }
}
