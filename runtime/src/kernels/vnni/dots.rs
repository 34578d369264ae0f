//! The integer primitives of attention over a [`Vector`].
//!
//! A block of keys and a piece of values have one shape: tiles of eight lanes, and in each tile, gang after gang, four
//! bytes a lane. Keys meet the signed bytes of the queries, and so are taken as unsigned: `k + 128` in 0..=255, from sums that
//! begin at `-128 Σ q`. Weights are unsigned as they are. Sums are exact: 256 products of at most 255 * 127.

use super::Vector;
use crate::kernels::attend::{self, Dots, TILES};
use crate::kernels::attention::BLOCK;
use crate::kernels::avx2::dots;
use crate::kernels::prefetch;
use core::marker::PhantomData;
use kinglet_quant::LANES;

/// Bytes of a gang.
const GANG: usize = 4 * LANES;

/// See [`Dots`]. Only the entries of the tables whose features `V` needs may name it.
pub(super) struct VnniDots<V>(PhantomData<V>);

impl<V: Vector> Dots for VnniDots<V> {
    const ROWS: usize = V::ROWS;
    type Eight = dots::Ymm;

    #[inline(always)]
    fn scores<const R: usize>(keys: &[i8], next: &[i8], queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
        let head_dim = queries[0].len();
        assert!(head_dim.is_multiple_of(4) && queries.iter().all(|query| query.len() == head_dim));
        assert!(keys.len() == BLOCK * head_dim);
        let offsets = queries.map(|query| -128 * query.iter().map(|q| i32::from(*q)).sum::<i32>());
        let tiles = Tiles { bytes: keys, gangs: head_dim / 4, next };
        // SAFETY: each query has four bytes for each of the gangs, and the entry that names this type has the features.
        unsafe {
            products::<V, R>(&tiles, offsets, out, |sum, keys, r, gang| sum.add_dot4(keys.plus_128(), queries[r].as_ptr().add(4 * gang)));
        }
    }

    #[inline(always)]
    fn values<const R: usize>(tiles: &[i8], next: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
        let tiles = Tiles { bytes: tiles, gangs: BLOCK / 4, next };
        // SAFETY: the weights of a row have four bytes for each of the gangs, and the entry that names this type has the
        // features.
        unsafe {
            products::<V, R>(&tiles, [0; R], out, |sum, values, r, gang| sum.add_unsigned_dot4(weights[r].as_ptr().add(4 * gang), values));
        }
    }

    #[inline(always)]
    fn weights(e: &[f32; BLOCK], inverse: f32, out: &mut [u8; BLOCK]) {
        if V::NARROWS {
            attend::weights(e, inverse, out);
        } else {
            dots::weights(e, inverse, out);
        }
    }
}

/// Tiles of eight lanes: four bytes a lane in a gang, gang after gang.
struct Tiles<'a> {
    bytes: &'a [i8],
    gangs: usize,
    /// As long as `bytes`, to be prefetched; or empty.
    next: &'a [i8],
}

/// Starts `out[r][lane]` from `start[r]` and adds, for each gang, what `step(sum, bytes, r, gang)` adds.
///
/// # Safety
/// The features of `V` are there.
#[inline(always)]
unsafe fn products<V: Vector, const R: usize>(
    tiles: &Tiles<'_>,
    start: [i32; R],
    out: &mut [[i32; BLOCK]; R],
    step: impl Fn(V, V, usize, usize) -> V,
) {
    let count = tiles.bytes.len() / (tiles.gangs * GANG);
    assert!(count <= TILES && tiles.bytes.len().is_multiple_of(tiles.gangs * GANG));
    let side_by_side = if R > 4 { V::SIDE_BY_SIDE / 2 } else { V::SIDE_BY_SIDE };
    let mut tile = 0;
    while tile < count {
        // SAFETY: there are tiles for all registers but the last, and at least one for that.
        tile += unsafe {
            match side_by_side {
                4 if tile + 4 * V::TILES <= count => some_tiles::<V, R, 4>(tiles, tile, start, out, &step),
                2 if tile + 2 * V::TILES <= count => some_tiles::<V, R, 2>(tiles, tile, start, out, &step),
                _ => some_tiles::<V, R, 1>(tiles, tile, start, out, &step),
            }
        };
    }
}

/// The same for `P` registers of tiles from `tile` on; returns how many tiles these are.
///
/// # Safety
/// The features of `V` are there, and the tiles, of which the last register may lack its second.
#[inline(always)]
unsafe fn some_tiles<V: Vector, const R: usize, const P: usize>(
    tiles: &Tiles<'_>,
    tile: usize,
    start: [i32; R],
    out: &mut [[i32; BLOCK]; R],
    step: impl Fn(V, V, usize, usize) -> V,
) -> usize {
    let tile_bytes = tiles.gangs * GANG;
    let gang_bytes = P * V::TILES * GANG;
    // SAFETY: gangs of tiles that are there: a register whose second tile is missing reads its first one twice. It is then
    // the last of at most `TILES - 1` tiles, so that its lanes, too, have room in `out`.
    unsafe {
        let first = tiles.bytes.as_ptr().add(tile * tile_bytes).cast::<u8>();
        let stride = if (tile + 1) * tile_bytes < tiles.bytes.len() { tile_bytes } else { 0 };
        let mut sums: [[V; P]; R] = core::array::from_fn(|r| [V::splat(start[r]); P]);
        for gang in 0..tiles.gangs {
            if !tiles.next.is_empty() {
                prefetch(tiles.next.as_ptr().wrapping_add(tile * tile_bytes + gang * gang_bytes).cast(), gang_bytes);
            }
            let bytes: [V; P] = core::array::from_fn(|p| V::load(first.add(p * V::TILES * tile_bytes + gang * GANG), stride));
            for r in 0..R {
                for p in 0..P {
                    sums[r][p] = step(sums[r][p], bytes[p], r, gang);
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                sums[r][p].store(out[r].as_mut_ptr().add((tile + p * V::TILES) * LANES));
            }
        }
    }
    P * V::TILES
}
