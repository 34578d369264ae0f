//! q8 weights times int8 activations.
//!
//! `vpmaddubsw` wants one unsigned side: the weight's size, taken once per load, times the activation with the
//! weight's sign, taken per token by `vpsignb`. A pair fits 16 bits and two do not, so that each goes to 32 bits at
//! once, by the `vpmaddwd` with the block's scales. See [`kinglet_quant::q8`] for the bounds.

use super::{SPREAD, ahead, load, prefetch, to_lanes};
use crate::kernels::check_quantised;
use crate::tensor::{Acts, Matrix, Outputs};
use core::arch::x86_64::*;
use kinglet_quant::{DType, UNIT, act, q8};

/// Tokens in a register tile of a batch: six sums leave room for weights, their sizes and scales, and products.
const TOKENS: usize = 6;
/// Tokens that a tile meets before the next tile: their activations stay in the second cache.
const TOKEN_BLOCK: usize = 10 * TOKENS;

/// Entry `matmul_q8`.
#[target_feature(enable = "avx2")]
pub(super) fn matmul(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) {
    check_quantised(DType::Q8, w, x, out);
    let tiles = out.tiles();
    if x.tokens() == 1 {
        // The weights are read once: two streams of them share every load of the activations.
        for tile in tiles.clone().step_by(2) {
            if tile + 1 < tiles.end {
                register_tile::<2, 1>(w, x, out, tile, 0);
            } else {
                register_tile::<1, 1>(w, x, out, tile, 0);
            }
        }
        return;
    }
    for first in (0..x.tokens()).step_by(TOKEN_BLOCK) {
        let end = (first + TOKEN_BLOCK).min(x.tokens());
        for tile in tiles.clone() {
            for t in (first..end).step_by(TOKENS) {
                match end - t {
                    1 => register_tile::<1, 1>(w, x, out, tile, t),
                    2 => register_tile::<1, 2>(w, x, out, tile, t),
                    3 => register_tile::<1, 3>(w, x, out, tile, t),
                    4 => register_tile::<1, 4>(w, x, out, tile, t),
                    5 => register_tile::<1, 5>(w, x, out, tile, t),
                    _ => register_tile::<1, TOKENS>(w, x, out, tile, t),
                }
            }
        }
    }
}

/// `P` tiles from `tile` on, `T` tokens from `t` on.
#[inline(never)] // one body per shape, where the compiler has all registers for it
#[target_feature(enable = "avx2")]
fn register_tile<const P: usize, const T: usize>(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>, tile: usize, t: usize) {
    let cols = w.cols();
    let (padded, groups) = (act::padded(cols), act::groups(cols));
    let tile_bytes = w.bytes().len() / w.tiles();
    assert!(tile + P <= w.tiles() && t + T <= x.tokens());
    assert!(q8::tile_bytes(cols) == Some(tile_bytes));

    let spread = [load(&SPREAD[0]), load(&SPREAD[1])];
    let mut products = [[_mm256_setzero_ps(); T]; P];

    // SAFETY: for this and every block below, tiles `tile..tile + P` lie in the weights, each `HEAD_BYTES + units * UNIT_BYTES`
    // long, and tokens `t..t + T` in the activations, `padded` quants and `groups` scales each: `Matrix` and `Acts` are
    // made with these lengths, and the asserts above tie this tile to them. Offsets grow with the unit, which stays
    // below `padded / UNIT`.
    let head = unsafe { w.bytes().as_ptr().add(tile * tile_bytes) };
    // SAFETY: as above.
    let quants = unsafe { x.quants().as_ptr().add(t * padded) };
    // SAFETY: as above.
    let scales = unsafe { x.scales().as_ptr().add(t * groups) };

    for group in 0..groups {
        let units = group * (act::GROUP / UNIT)..((group + 1) * (act::GROUP / UNIT)).min(padded / UNIT);
        let mut product = [[_mm256_setzero_si256(); T]; P];
        for u in units {
            // SAFETY: as above.
            let (unit, quants) = unsafe { (head.add(q8::HEAD_BYTES + u * q8::UNIT_BYTES), quants.add(u * UNIT)) };
            if P == 2 {
                prefetch::<{ 2 * q8::UNIT_BYTES }>(head, ahead(tile_bytes) + u * 2 * q8::UNIT_BYTES);
            }
            for block in 0..2 {
                let mut scales = [_mm256_setzero_si256(); P];
                for p in 0..P {
                    // SAFETY: as above; the 16 scales of a unit.
                    let both = unsafe { _mm_loadu_si128(unit.add(p * tile_bytes + q8::SCALES_AT).cast()) };
                    scales[p] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(both), spread[block]);
                }
                for l in 8 * block..8 * block + 8 {
                    let (mut signed, mut size) = ([_mm256_setzero_si256(); P], [_mm256_setzero_si256(); P]);
                    for p in 0..P {
                        // SAFETY: as above.
                        signed[p] = unsafe { _mm256_loadu_si256(unit.add(p * tile_bytes + 32 * l).cast()) };
                        size[p] = _mm256_abs_epi8(signed[p]);
                    }
                    for t in 0..T {
                        // SAFETY: as above.
                        let x = unsafe { quants.add(t * padded + 4 * l).cast::<i32>().read_unaligned() };
                        let x = _mm256_set1_epi32(x);
                        for p in 0..P {
                            let pairs = _mm256_maddubs_epi16(size[p], _mm256_sign_epi8(x, signed[p]));
                            product[p][t] = _mm256_add_epi32(product[p][t], _mm256_madd_epi16(pairs, scales[p]));
                        }
                    }
                }
            }
        }
        for t in 0..T {
            // SAFETY: as above.
            let scale = _mm256_set1_ps(unsafe { *scales.add(t * groups + group) });
            for p in 0..P {
                products[p][t] = _mm256_add_ps(products[p][t], _mm256_mul_ps(_mm256_cvtepi32_ps(product[p][t]), scale));
            }
        }
    }

    for p in 0..P {
        // SAFETY: as above; the head of a tile is 8 floats.
        let row_scale = unsafe { _mm256_loadu_ps(head.add(p * tile_bytes).cast()) };
        for token in 0..T {
            out.store(tile + p, t + token, to_lanes(_mm256_mul_ps(row_scale, products[p][token])));
        }
    }
}
