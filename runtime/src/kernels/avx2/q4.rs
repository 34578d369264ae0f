//! q4 weights times int8 activations.
//!
//! A register tile is `P` tiles of weights times `T` tokens. Per 32-byte load of a tile: one `and`, one shift and
//! `and` give 8 rows × 4 inputs twice; per token, two broadcasts of four activations, which the `P` tiles share, two
//! `vpmaddubsw` and two 16-bit adds. A block's eight pairs fit 16 bits, so that one `vpmaddwd` with the block's
//! scales moves the sum to 32 bits. See [`kinglet_quant::q4`] for the bounds.

use super::{SPREAD, ahead, load, prefetch, to_lanes};
use crate::kernels::check_quantised;
use crate::tensor::{Acts, Matrix, Outputs};
use core::arch::x86_64::*;
use kinglet_quant::{BLOCK, DType, LANES, UNIT, act, q4};

/// Tokens in a register tile of a batch: six 16-bit sums, and as many of 32 bits that come and go once a block, leave
/// room for weights, activations and products.
const TOKENS: usize = 6;
/// Tokens that a tile meets before the next tile: their activations stay in the second cache.
const TOKEN_BLOCK: usize = 10 * TOKENS;

/// Entry `matmul_q4`.
#[target_feature(enable = "avx2")]
pub(super) fn matmul(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) {
    check_quantised(DType::Q4, w, x, out);
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
    let (padded, groups, blocks) = (act::padded(cols), act::groups(cols), act::blocks(cols));
    let tile_bytes = w.bytes().len() / w.tiles();
    assert!(tile + P <= w.tiles() && t + T <= x.tokens());
    assert!(q4::tile_bytes(cols) == Some(tile_bytes));

    let spread = [load(&SPREAD[0]), load(&SPREAD[1])];
    let mut products = [[_mm256_setzero_ps(); T]; P];
    let mut minima = [[_mm256_setzero_ps(); T]; P];

    // SAFETY: for this and every block below, tiles `tile..tile + P` lie in the weights, each `HEAD_BYTES + units * UNIT_BYTES`
    // long, and tokens `t..t + T` in the activations, `padded` quants, `groups` scales and `blocks` sums each: `Matrix`
    // and `Acts` are made with these lengths, and the asserts above tie this tile to them. Offsets grow with the
    // unit, which stays below `padded / UNIT`.
    let head = unsafe { w.bytes().as_ptr().add(tile * tile_bytes) };
    // SAFETY: as above.
    let quants = unsafe { x.quants().as_ptr().add(t * padded) };
    // SAFETY: as above.
    let scales = unsafe { x.scales().as_ptr().add(t * groups) };
    // SAFETY: as above.
    let sums = unsafe { x.sums().as_ptr().add(t * blocks) };

    for group in 0..groups {
        let units = group * (act::GROUP / UNIT)..((group + 1) * (act::GROUP / UNIT)).min(padded / UNIT);
        let mut product = [[_mm256_setzero_si256(); T]; P];
        let mut minimum = [[_mm256_setzero_si256(); T]; P];
        for u in units {
            // SAFETY: as above.
            let (unit, quants, sums) =
                unsafe { (head.add(q4::HEAD_BYTES + u * q4::UNIT_BYTES), quants.add(u * UNIT), sums.add(u * (UNIT / BLOCK))) };
            if P == 2 {
                prefetch::<{ 2 * q4::UNIT_BYTES }>(head, ahead(tile_bytes) + u * 2 * q4::UNIT_BYTES);
            }
            for block in 0..2 {
                let mut pairs = [[_mm256_setzero_si256(); T]; P];
                // SAFETY: as above; loads `4 * block..4 * block + 4` of the unit and the block's activations.
                unsafe {
                    let (loads, x) = (unit.add(4 * 32 * block), quants.add(BLOCK * block));
                    add_load::<P, T, true>(loads, tile_bytes, x, padded, &mut pairs);
                    add_load::<P, T, false>(loads.add(32), tile_bytes, x.add(8), padded, &mut pairs);
                    add_load::<P, T, false>(loads.add(64), tile_bytes, x.add(16), padded, &mut pairs);
                    add_load::<P, T, false>(loads.add(96), tile_bytes, x.add(24), padded, &mut pairs);
                }
                for p in 0..P {
                    // SAFETY: as above; the 16 scales of a unit.
                    let both = unsafe { _mm_loadu_si128(unit.add(p * tile_bytes + q4::SCALES_AT).cast()) };
                    let scales = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(both), spread[block]);
                    for t in 0..T {
                        product[p][t] = _mm256_add_epi32(product[p][t], _mm256_madd_epi16(pairs[p][t], scales));
                    }
                }
            }
            for p in 0..P {
                // SAFETY: as above; the 16 minima of a unit, in pairs of blocks per row.
                let mins = unsafe { _mm_loadu_si128(unit.add(p * tile_bytes + q4::MINS_AT).cast()) };
                let mins = _mm256_cvtepu8_epi16(mins);
                for t in 0..T {
                    // SAFETY: as above; the sums of the unit's two blocks.
                    let pair = unsafe { sums.add(t * blocks).cast::<i32>().read_unaligned() };
                    minimum[p][t] = _mm256_add_epi32(minimum[p][t], _mm256_madd_epi16(mins, _mm256_set1_epi32(pair)));
                }
            }
        }
        for t in 0..T {
            // SAFETY: as above.
            let scale = _mm256_set1_ps(unsafe { *scales.add(t * groups + group) });
            for p in 0..P {
                products[p][t] = _mm256_add_ps(products[p][t], _mm256_mul_ps(_mm256_cvtepi32_ps(product[p][t]), scale));
                minima[p][t] = _mm256_add_ps(minima[p][t], _mm256_mul_ps(_mm256_cvtepi32_ps(minimum[p][t]), scale));
            }
        }
    }

    for p in 0..P {
        // SAFETY: as above; the head of a tile is 16 floats.
        let (row_scale, row_min) = unsafe {
            let head = head.add(p * tile_bytes).cast::<f32>();
            (_mm256_loadu_ps(head), _mm256_loadu_ps(head.add(LANES)))
        };
        for token in 0..T {
            let y = _mm256_sub_ps(_mm256_mul_ps(row_scale, products[p][token]), _mm256_mul_ps(row_min, minima[p][token]));
            out.store(tile + p, t + token, to_lanes(y));
        }
    }
}

/// Adds the products of one 32-byte load of each tile with eight activations of each token; sets them if `FIRST`.
///
/// # Safety
/// From `load + p * tile_bytes` 32 bytes are readable for every `p` below `P`, and from `x + t * stride` eight for every
/// `t` below `T`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_load<const P: usize, const T: usize, const FIRST: bool>(
    load: *const u8,
    tile_bytes: usize,
    x: *const i8,
    stride: usize,
    pairs: &mut [[__m256i; T]; P],
) {
    let low_nibbles = _mm256_set1_epi8(q4::QUANT_MAX as i8);
    let (mut low, mut high) = ([_mm256_setzero_si256(); P], [_mm256_setzero_si256(); P]);
    for p in 0..P {
        // SAFETY: the caller's duty.
        let packed = unsafe { _mm256_loadu_si256(load.add(p * tile_bytes).cast()) };
        low[p] = _mm256_and_si256(packed, low_nibbles);
        high[p] = _mm256_and_si256(_mm256_srli_epi16(packed, 4), low_nibbles);
    }
    for t in 0..T {
        // SAFETY: the caller's duty.
        let (x_low, x_high) = unsafe {
            let x = x.add(t * stride).cast::<i32>();
            (x.read_unaligned(), x.add(1).read_unaligned())
        };
        let (x_low, x_high) = (_mm256_set1_epi32(x_low), _mm256_set1_epi32(x_high));
        for p in 0..P {
            let of_low = _mm256_maddubs_epi16(low[p], x_low);
            let sum = if FIRST { of_low } else { _mm256_add_epi16(pairs[p][t], of_low) };
            pairs[p][t] = _mm256_add_epi16(sum, _mm256_maddubs_epi16(high[p], x_high));
        }
    }
}
