//! q4 weights times int8 activations.
//!
//! A register tile is `P` registers of rows times `T` tokens. The weights of a block are unpacked once for all tokens; a
//! token's block is eight `vpdpbusd`, one product with the block's scales and one addition. Minima take one `vpdpwssd` for
//! two blocks. See [`kinglet_quant::q4`] for the bounds.

use super::Vector;
use crate::kernels::avx2::{ahead, prefetch};
use crate::kernels::check_quantised;
use crate::tensor::{Acts, Matrix, Outputs};
use core::ops::Range;
use kinglet_quant::{BLOCK, DType, LANES, UNIT, act, q4};

/// Entry `matmul_q4`.
#[inline(always)]
pub(super) fn matmul<V: Vector>(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) {
    check_quantised(DType::Q4, w, x, out);
    let tiles = out.tiles();
    if x.tokens() == 1 {
        for tile in tiles.clone().step_by(2 * V::TILES) {
            if tile + V::TILES < tiles.end {
                register_tile::<V, 2, 1>(w, x, out, tile, 0);
            } else {
                register_tile::<V, 1, 1>(w, x, out, tile, 0);
            }
        }
        return;
    }
    for tile in tiles.step_by(V::TILES) {
        let mut t = 0;
        while t < x.tokens() {
            let left = (x.tokens() - t).min(V::TOKENS);
            t += match left {
                12.. => register_tile::<V, 1, 12>(w, x, out, tile, t),
                8.. => register_tile::<V, 1, 8>(w, x, out, tile, t),
                6.. => register_tile::<V, 1, 6>(w, x, out, tile, t),
                4.. => register_tile::<V, 1, 4>(w, x, out, tile, t),
                2.. => register_tile::<V, 1, 2>(w, x, out, tile, t),
                _ => register_tile::<V, 1, 1>(w, x, out, tile, t),
            };
        }
    }
}

/// `P` registers of rows from `tile` on, `T` tokens from `t` on; returns `T`.
#[inline(always)]
fn register_tile<V: Vector, const P: usize, const T: usize>(
    w: &Matrix<'_>,
    x: &Acts<'_>,
    out: &mut Outputs<'_>,
    tile: usize,
    t: usize,
) -> usize {
    let cols = w.cols();
    let (padded, groups, blocks) = (act::padded(cols), act::groups(cols), act::blocks(cols));
    let tile_bytes = w.bytes().len() / w.tiles();
    let tiles: [Range<usize>; P] = core::array::from_fn(|p| {
        let first = tile + p * V::TILES;
        first..(first + V::TILES).min(out.tiles().end)
    });
    assert!(tiles.iter().all(|tiles| !tiles.is_empty() && tiles.end <= w.tiles()) && t + T <= x.tokens());
    assert!(q4::tile_bytes(cols) == Some(tile_bytes));

    // SAFETY: tiles of `tiles` lie in the weights, each `HEAD_BYTES + units * UNIT_BYTES` long, and tokens `t..t + T` in the
    // activations, `padded` quants, `groups` scales and `blocks` sums each: `Matrix` and `Acts` are made with these lengths,
    // and the asserts above tie this register tile to them. A register whose second tile is missing reads its first one
    // twice. Offsets grow with the unit, which stays below `padded / UNIT`. The instructions are those of `V`, which the
    // table's entry has.
    unsafe {
        let heads: [*const u8; P] = core::array::from_fn(|p| w.bytes().as_ptr().add(tiles[p].start * tile_bytes));
        let strides: [usize; P] = core::array::from_fn(|p| (tiles[p].len() - 1) * tile_bytes);
        let quants = x.quants().as_ptr().add(t * padded);
        let scales = x.scales().as_ptr().add(t * groups);
        let sums = x.sums().as_ptr().add(t * blocks);

        let mut products = [[V::zero_floats(); T]; P];
        let mut minima = [[V::zero_floats(); T]; P];
        for group in 0..groups {
            let units = group * (act::GROUP / UNIT)..((group + 1) * (act::GROUP / UNIT)).min(padded / UNIT);
            let mut product = [[V::zero(); T]; P];
            for u in units.clone() {
                if T == 1 && P == 2 {
                    prefetch::<{ 2 * q4::UNIT_BYTES }>(heads[0], ahead(tile_bytes) + u * 2 * q4::UNIT_BYTES);
                }
                for block in 0..2 {
                    let x = quants.add(u * UNIT + block * BLOCK);
                    let mut dots = [[V::zero(); T]; P];
                    for load in 0..4 {
                        for p in 0..P {
                            let unit = heads[p].add(q4::HEAD_BYTES + u * q4::UNIT_BYTES);
                            let packed = V::load(unit.add(32 * (4 * block + load)), strides[p]);
                            let (low, high) = (packed.low_nibbles(), packed.high_nibbles());
                            for t in 0..T {
                                let x = x.add(t * padded + 8 * load);
                                dots[p][t] = dots[p][t].add_dot4(low, x).add_dot4(high, x.add(4));
                            }
                        }
                    }
                    for p in 0..P {
                        let unit = heads[p].add(q4::HEAD_BYTES + u * q4::UNIT_BYTES);
                        let scales = V::load_u8(unit.add(q4::SCALES_AT + LANES * block), strides[p]);
                        for t in 0..T {
                            product[p][t] = product[p][t].add_product(dots[p][t], scales);
                        }
                    }
                }
            }
            let mut minimum = [[V::zero(); T]; P];
            for u in units {
                for p in 0..P {
                    let unit = heads[p].add(q4::HEAD_BYTES + u * q4::UNIT_BYTES);
                    let mins = V::load_u8_pairs(unit.add(q4::MINS_AT), strides[p]);
                    for t in 0..T {
                        minimum[p][t] = minimum[p][t].add_dot2(mins, sums.add(t * blocks + u * (UNIT / BLOCK)));
                    }
                }
            }
            for t in 0..T {
                let scale = *scales.add(t * groups + group);
                for p in 0..P {
                    products[p][t] = product[p][t].add_scaled(products[p][t], scale);
                    minima[p][t] = minimum[p][t].add_scaled(minima[p][t], scale);
                }
            }
        }

        for p in 0..P {
            let row_scale = V::load_floats(heads[p], strides[p]);
            let row_min = V::load_floats(heads[p].add(4 * LANES), strides[p]);
            for token in 0..T {
                let y = V::sub(V::mul(row_scale, products[p][token]), V::mul(row_min, minima[p][token]));
                let lanes = V::to_tiles(y);
                for (tile, lanes) in tiles[p].clone().zip(lanes) {
                    out.store(tile, t + token, lanes);
                }
            }
        }
    }
    T
}
