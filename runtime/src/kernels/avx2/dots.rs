//! The integer primitives of attention: keys by the sign trick of q8, values times unsigned weights as they are.
//!
//! Every row shares the loads, and for keys the sizes. A pair of products is at most 2 * 127 * 127 and fits 16 bits.

use crate::kernels::attend::{Dots, Eight, TILES, weight};
use crate::kernels::attention::BLOCK;
use crate::kernels::float::Float;
use crate::kernels::prefetch;
use core::arch::x86_64::*;
use kinglet_quant::LANES;

/// See [`Dots`].
pub(super) struct Avx2Dots;

impl Dots for Avx2Dots {
    const ROWS: usize = 4;
    type Eight = Ymm;

    #[inline(always)]
    fn scores<const R: usize>(keys: &[i8], next: &[i8], queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
        // SAFETY: this type is named only by the entry of the AVX2 table, which runs with the features.
        unsafe { scores(keys, next, queries, out) }
    }

    #[inline(always)]
    fn values<const R: usize>(tiles: &[i8], next: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
        // SAFETY: as in `scores`.
        unsafe { values(tiles, next, weights, out) }
    }

    #[inline(always)]
    fn weights(e: &[f32; BLOCK], inverse: f32, out: &mut [u8; BLOCK]) {
        weights(e, inverse, out);
    }
}

/// See [`Eight`]. Only entries of tables with AVX2 may name it.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Ymm(__m256);

impl Eight for Ymm {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: this type is named only by entries of tables with AVX2, which run with the features.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        // SAFETY: as in `splat`, and there are eight values.
        Self(unsafe { _mm256_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn to_lanes(self) -> [f32; LANES] {
        // SAFETY: as in `splat`.
        unsafe { super::to_lanes(self.0) }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        // SAFETY: as in `splat`.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn or_greater(self, other: Self) -> Self {
        // The instruction gives its second operand unless the first one is greater.
        // SAFETY: as in `splat`.
        Self(unsafe { _mm256_max_ps(other.0, self.0) })
    }
}

impl Float for Ymm {
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: as in `splat`.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn from_f32(bytes: &[u8; 4 * LANES]) -> Self {
        // SAFETY: as in `splat`, and there are 32 bytes.
        Self(unsafe { _mm256_loadu_ps(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    fn from_f16(bytes: &[u8; 2 * LANES]) -> Self {
        // SAFETY: as in `splat`, for tables with AVX2 have F16C, and there are 16 bytes.
        Self(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().cast())) })
    }
}

/// See [`Dots::weights`]: packed by the instructions that saturate, which the compiler does not find.
#[inline(always)]
pub(in crate::kernels) fn weights(e: &[f32; BLOCK], inverse: f32, out: &mut [u8; BLOCK]) {
    let mut numbers = [0; BLOCK];
    for p in 0..BLOCK {
        numbers[p] = weight(e[p] * inverse);
    }
    // SAFETY: 32 numbers and 32 bytes, twice; only entries of tables with AVX2 call this.
    unsafe {
        // Packing works in halves of a register; this order of its 32-bit lanes puts them right.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for half in [0, BLOCK / 2] {
            let load = |i: usize| _mm256_loadu_si256(numbers.as_ptr().add(half + LANES * i).cast());
            let (low, high) = (_mm256_packs_epi32(load(0), load(1)), _mm256_packs_epi32(load(2), load(3)));
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
            _mm256_storeu_si256(out.as_mut_ptr().add(half).cast(), bytes);
        }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn scores<const R: usize>(keys: &[i8], next: &[i8], queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
    let head_dim = queries[0].len();
    assert!(head_dim.is_multiple_of(4) && queries.iter().all(|query| query.len() == head_dim));
    assert!(keys.len() >= BLOCK * head_dim);
    let ones = _mm256_set1_epi16(1);
    for tile in 0..TILES {
        let mut sums = [_mm256_setzero_si256(); R];
        if !next.is_empty() {
            prefetch(next.as_ptr().wrapping_add(tile * LANES * head_dim).cast(), LANES * head_dim);
        }
        for c in (0..head_dim).step_by(4) {
            // SAFETY: a tile has `LANES * head_dim` bytes, `LANES` for each channel, and lies within `keys`.
            let keys = unsafe { _mm256_loadu_si256(keys.as_ptr().add(LANES * (tile * head_dim + c)).cast()) };
            let size = _mm256_abs_epi8(keys);
            for r in 0..R {
                // SAFETY: `c` and the next three channels are below `head_dim`, a multiple of 4.
                let query = unsafe { queries[r].as_ptr().add(c).cast::<i32>().read_unaligned() };
                let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(_mm256_set1_epi32(query), keys));
                sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
            }
        }
        for r in 0..R {
            // SAFETY: eight `i32` from `tile * LANES` on, and `tile` is below `BLOCK / LANES`.
            unsafe { _mm256_storeu_si256(out[r].as_mut_ptr().add(tile * LANES).cast(), sums[r]) };
        }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn values<const R: usize>(tiles: &[i8], next: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
    let count = tiles.len() / (LANES * BLOCK);
    assert!(count <= TILES);
    let ones = _mm256_set1_epi16(1);
    for tile in 0..count {
        let mut sums = [_mm256_setzero_si256(); R];
        if !next.is_empty() {
            prefetch(next.as_ptr().wrapping_add(tile * LANES * BLOCK).cast(), LANES * BLOCK);
        }
        for p in (0..BLOCK).step_by(4) {
            // SAFETY: a tile has `LANES * BLOCK` bytes, `LANES` for each position, and lies within `tiles`.
            let values = unsafe { _mm256_loadu_si256(tiles.as_ptr().add(LANES * (tile * BLOCK + p)).cast()) };
            for r in 0..R {
                // SAFETY: `p` and the next three positions are below `BLOCK`, a multiple of 4.
                let weights = unsafe { weights[r].as_ptr().add(p).cast::<i32>().read_unaligned() };
                let pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(weights), values);
                sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
            }
        }
        for r in 0..R {
            // SAFETY: eight `i32` from `tile * LANES` on, and `tile` is below `BLOCK / LANES`.
            unsafe { _mm256_storeu_si256(out[r].as_mut_ptr().add(tile * LANES).cast(), sums[r]) };
        }
    }
}
