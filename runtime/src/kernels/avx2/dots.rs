//! The integer primitives of attention: keys by the sign trick of q8, values times unsigned weights as they are.
//!
//! Every row shares the loads, and for keys the sizes. A pair of products is at most 2 * 127 * 127 and fits 16 bits.

use crate::kernels::attend::{Dots, TILES};
use crate::kernels::attention::BLOCK;
use core::arch::x86_64::*;
use core::ops::Range;
use kinglet_quant::LANES;

/// See [`Dots`].
pub(super) struct Avx2Dots;

impl Dots for Avx2Dots {
    #[inline(always)]
    fn scores<const R: usize>(keys: &[i8], tiles: Range<usize>, queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
        // SAFETY: this type is named only by the entry of the AVX2 table, which runs with the features.
        unsafe { scores(keys, tiles, queries, out) }
    }

    #[inline(always)]
    fn values<const R: usize>(tiles: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
        // SAFETY: as in `scores`.
        unsafe { values(tiles, weights, out) }
    }
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn scores<const R: usize>(keys: &[i8], tiles: Range<usize>, queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
    let head_dim = queries[0].len();
    assert!(head_dim.is_multiple_of(4) && queries.iter().all(|query| query.len() == head_dim));
    assert!(tiles.end <= TILES && keys.len() >= tiles.end * LANES * head_dim);
    let ones = _mm256_set1_epi16(1);
    for tile in tiles {
        let mut sums = [_mm256_setzero_si256(); R];
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
fn values<const R: usize>(tiles: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
    let count = tiles.len() / (LANES * BLOCK);
    assert!(count <= TILES);
    let ones = _mm256_set1_epi16(1);
    for tile in 0..count {
        let mut sums = [_mm256_setzero_si256(); R];
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
