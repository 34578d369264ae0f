//! The table for AVX-512 with VNNI, and its 512-bit [`Vector`].

use super::dots::VnniDots;
use super::{Vector, q4::Q4, q8::Q8};
use crate::isa::{Avx512, Isa, avx512_entry};
use crate::kernels::attention::{CacheI8, Partials, QueriesI8};
use crate::kernels::product::matmul;
use crate::kernels::{Kernels, attend, avx2, lane_entries};
use crate::tensor::{Acts, Matrix, Outputs};
use core::arch::x86_64::*;
use kinglet_quant::LANES;

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: Avx512) -> &'static Kernels {
    static KERNELS: Kernels = Kernels {
        isa: Isa::Avx512,
        matmul_q4,
        matmul_q8,
        subtract,
        rms_norm,
        layer_norm,
        rope,
        activate,
        activate_gated,
        add,
        attend_i8,
        merge,
        ..avx2::KERNELS
    };
    &KERNELS
}

avx512_entry! {
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<Zmm>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<Zmm>>;
    fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) = attend::attend_i8::<VnniDots<Zmm>>;
    fn merge(later: &Partials<'_>, out: &mut Partials<'_>) = attend::merge;
}

lane_entries!(avx512_entry);

/// See [`Vector`].
#[derive(Clone, Copy)]
struct Zmm(__m512i);

#[expect(unsafe_op_in_unsafe_fn, reason = "each method is an instruction or two, under the one duty that the trait states")]
impl Vector for Zmm {
    type Floats = __m512;
    const TILES: usize = 2;
    const TOKENS: usize = 6;
    const ROWS: usize = 8;
    const SIDE_BY_SIDE: usize = 4;
    const NARROWS: bool = true;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(_mm512_setzero_si512())
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        Self(_mm512_set1_epi32(value))
    }

    #[inline(always)]
    unsafe fn store(self, out: *mut i32) {
        _mm512_storeu_si512(out.cast(), self.0);
    }

    #[inline(always)]
    unsafe fn load(tile: *const u8, stride: usize) -> Self {
        let first = _mm512_castsi256_si512(_mm256_loadu_si256(tile.cast()));
        Self(_mm512_inserti64x4::<1>(first, _mm256_loadu_si256(tile.add(stride).cast())))
    }

    #[inline(always)]
    unsafe fn load_u8(tile: *const u8, stride: usize) -> Self {
        let (first, second) = (_mm_loadl_epi64(tile.cast()), _mm_loadl_epi64(tile.add(stride).cast()));
        Self(_mm512_cvtepu8_epi32(_mm_unpacklo_epi64(first, second)))
    }

    #[inline(always)]
    unsafe fn load_u8_pairs(tile: *const u8, stride: usize) -> Self {
        let first = _mm256_castsi128_si256(_mm_loadu_si128(tile.cast()));
        Self(_mm512_cvtepu8_epi16(_mm256_inserti128_si256::<1>(first, _mm_loadu_si128(tile.add(stride).cast()))))
    }

    #[inline(always)]
    unsafe fn interleave_u8(tile: *const u8, stride: usize) -> Self {
        let first = _mm256_castsi128_si256(_mm_loadu_si128(tile.cast()));
        let both = _mm256_inserti128_si256::<1>(first, _mm_loadu_si128(tile.add(stride).cast()));
        Self(_mm512_cvtepu8_epi16(_mm256_unpacklo_epi8(both, _mm256_srli_si256::<8>(both))))
    }

    #[inline(always)]
    unsafe fn shift_left<const BITS: u32>(self) -> Self {
        Self(_mm512_slli_epi32::<BITS>(self.0))
    }

    #[inline(always)]
    unsafe fn minus(self, a: Self) -> Self {
        Self(_mm512_sub_epi32(self.0, a.0))
    }

    #[inline(always)]
    unsafe fn plus_128(self) -> Self {
        Self(_mm512_xor_si512(self.0, _mm512_set1_epi8(i8::MIN)))
    }

    #[inline(always)]
    unsafe fn low_nibbles(self) -> Self {
        Self(_mm512_and_si512(self.0, _mm512_set1_epi8(15)))
    }

    #[inline(always)]
    unsafe fn high_nibbles(self) -> Self {
        Self(_mm512_and_si512(_mm512_srli_epi16::<4>(self.0), _mm512_set1_epi8(15)))
    }

    #[inline(always)]
    unsafe fn add_dot4(self, w: Self, x: *const i8) -> Self {
        Self(_mm512_dpbusd_epi32(self.0, w.0, _mm512_set1_epi32(x.cast::<i32>().read_unaligned())))
    }

    #[inline(always)]
    unsafe fn add_unsigned_dot4(self, u: *const u8, w: Self) -> Self {
        Self(_mm512_dpbusd_epi32(self.0, _mm512_set1_epi32(u.cast::<i32>().read_unaligned()), w.0))
    }

    #[inline(always)]
    unsafe fn add_dot2(self, w: Self, x: *const i16) -> Self {
        Self(_mm512_dpwssd_epi32(self.0, w.0, _mm512_set1_epi32(x.cast::<i32>().read_unaligned())))
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        Self(_mm512_add_epi32(self.0, _mm512_mullo_epi32(a.0, b.0)))
    }

    #[inline(always)]
    unsafe fn zero_floats() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline(always)]
    unsafe fn load_floats(tile: *const u8, stride: usize) -> __m512 {
        let first = _mm512_castps256_ps512(_mm256_loadu_ps(tile.cast()));
        _mm512_insertf32x8::<1>(first, _mm256_loadu_ps(tile.add(stride).cast()))
    }

    #[inline(always)]
    unsafe fn add_scaled(self, sum: __m512, scale: f32) -> __m512 {
        _mm512_add_ps(sum, _mm512_mul_ps(_mm512_cvtepi32_ps(self.0), _mm512_set1_ps(scale)))
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn to_tiles(floats: __m512) -> [[f32; LANES]; 2] {
        let mut lanes = [[0.0; LANES]; 2];
        _mm512_storeu_ps(lanes.as_mut_ptr().cast(), floats);
        lanes
    }
}
