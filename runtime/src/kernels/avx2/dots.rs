//! The integer primitives of attention: keys by the sign trick of q8, values times unsigned weights as they are.
//!
//! Every row shares the loads, and for keys the sizes. A pair of products is at most 2 * 127 * 127 and fits 16 bits.

use crate::kernels::attend::Dots;
use crate::kernels::attention::BLOCK;
use core::arch::x86_64::*;
use kinglet_quant::LANES;

/// See [`Dots`].
pub(super) struct Avx2Dots;

impl Dots for Avx2Dots {
    #[inline(always)]
    fn scores<const R: usize>(tile: &[i8], queries: [&[i8]; R], out: &mut [[i32; LANES]; R]) {
        // SAFETY: this type is named only by the entry of the AVX2 table, which runs with the features.
        unsafe { scores(tile, queries, out) }
    }

    #[inline(always)]
    fn values<const R: usize>(tile: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; LANES]; R]) {
        // SAFETY: as in `scores`.
        unsafe { values(tile, weights, out) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn scores<const R: usize>(tile: &[i8], queries: [&[i8]; R], out: &mut [[i32; LANES]; R]) {
    let gangs = tile.len() / 32;
    for query in queries {
        assert!(query.len() >= 4 * gangs);
    }
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); R];
    for gang in 0..gangs {
        // SAFETY: `gang` is below the number of whole 32-byte pieces of `tile`.
        let keys = unsafe { _mm256_loadu_si256(tile.as_ptr().add(32 * gang).cast()) };
        let size = _mm256_abs_epi8(keys);
        for r in 0..R {
            // SAFETY: each query has four channels for every gang, as asserted.
            let query = unsafe { queries[r].as_ptr().add(4 * gang).cast::<i32>().read_unaligned() };
            let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(_mm256_set1_epi32(query), keys));
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
        }
    }
    for r in 0..R {
        // SAFETY: an array of 8 `i32` has the 32 bytes.
        unsafe { _mm256_storeu_si256(out[r].as_mut_ptr().cast(), sums[r]) };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn values<const R: usize>(tile: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; LANES]; R]) {
    assert!(tile.len() == LANES * BLOCK);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); R];
    for gang in 0..BLOCK / 4 {
        // SAFETY: the tile has `BLOCK / 4` pieces of 32 bytes, as asserted.
        let values = unsafe { _mm256_loadu_si256(tile.as_ptr().add(32 * gang).cast()) };
        for r in 0..R {
            // SAFETY: `BLOCK` weights are `BLOCK / 4` gangs.
            let weights = unsafe { weights[r].as_ptr().add(4 * gang).cast::<i32>().read_unaligned() };
            let pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(weights), values);
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(pairs, ones));
        }
    }
    for r in 0..R {
        // SAFETY: an array of 8 `i32` has the 32 bytes.
        unsafe { _mm256_storeu_si256(out[r].as_mut_ptr().cast(), sums[r]) };
    }
}
