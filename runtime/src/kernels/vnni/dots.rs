//! The integer primitives of attention over a [`Vector`].
//!
//! A block of keys and a piece of values have one shape: tiles of eight lanes, and in each tile, gang after gang, four
//! bytes a lane. Keys meet the signed bytes of the queries, and so are taken as unsigned: `k + 128` in 0..=255, from sums that
//! begin at `-128 Σ q`. Weights are unsigned as they are. Sums are exact: 256 products of at most 255 * 127.

use super::Vector;
use crate::kernels::attend::{Dots, TILES};
use crate::kernels::attention::BLOCK;
use crate::kernels::avx2::dots;
use core::marker::PhantomData;
use kinglet_quant::LANES;

/// Bytes of a gang.
const GANG: usize = 4 * LANES;

/// See [`Dots`]. Only the entries of the tables whose features `V` needs may name it.
pub(super) struct VnniDots<V>(PhantomData<V>);

impl<V: Vector> Dots for VnniDots<V> {
    type Eight = dots::Ymm;

    #[inline(always)]
    fn scores<const R: usize>(keys: &[i8], next: &[i8], queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
        let head_dim = queries[0].len();
        assert!(head_dim.is_multiple_of(4) && queries.iter().all(|query| query.len() == head_dim));
        assert!(keys.len() == BLOCK * head_dim);
        let offsets = queries.map(|query| -128 * query.iter().map(|q| i32::from(*q)).sum::<i32>());
        // SAFETY: `TILES` tiles of `head_dim / 4` gangs are `BLOCK * head_dim` bytes, each query has four bytes for each of
        // the gangs, and the entry that names this type has the features.
        unsafe {
            let queries = queries.map(<[i8]>::as_ptr);
            products::<V, R>(keys.as_ptr(), next, TILES, head_dim / 4, offsets, out, |sum, keys, r, gang| {
                sum.add_dot4(keys.plus_128(), queries[r].add(4 * gang))
            });
        }
    }

    #[inline(always)]
    fn values<const R: usize>(tiles: &[i8], next: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
        let count = tiles.len() / (LANES * BLOCK);
        assert!(count <= TILES);
        // SAFETY: `count` tiles of `BLOCK / 4` gangs lie in `tiles`, the weights of a row have four bytes for each of the
        // gangs, and the entry that names this type has the features.
        unsafe {
            products::<V, R>(tiles.as_ptr(), next, count, BLOCK / 4, [0; R], out, |sum, values, r, gang| {
                sum.add_unsigned_dot4(weights[r].as_ptr().add(4 * gang), values)
            });
        }
    }

    #[inline(always)]
    fn narrow(numbers: &[i32; BLOCK], out: &mut [u8; BLOCK]) {
        dots::narrow(numbers, out);
    }
}

/// Starts `out[r][lane]` from `start[r]` and adds, for each gang, what `step(sum, bytes, r, gang)` adds.
///
/// # Safety
/// `count` tiles of `gangs * GANG` bytes lie at `tiles`, `count` is at most `TILES`, and the features of `V` are there.
#[inline(always)]
unsafe fn products<V: Vector, const R: usize>(
    tiles: *const i8,
    next: &[i8],
    count: usize,
    gangs: usize,
    start: [i32; R],
    out: &mut [[i32; BLOCK]; R],
    step: impl Fn(V, V, usize, usize) -> V,
) {
    let mut tile = 0;
    while tile < count {
        // SAFETY: the tiles of the registers end at `count`, as this function's caller promises for all of them.
        tile += unsafe {
            if tile + V::SIDE_BY_SIDE * V::TILES <= count {
                match V::SIDE_BY_SIDE {
                    4 => some_tiles::<V, R, 4>(tiles, next, tile, count, gangs, start, out, &step),
                    _ => some_tiles::<V, R, 2>(tiles, next, tile, count, gangs, start, out, &step),
                }
            } else {
                some_tiles::<V, R, 1>(tiles, next, tile, count, gangs, start, out, &step)
            }
        };
    }
}

/// The same for `P` registers of tiles from `tile` on; returns how many tiles these are.
///
/// # Safety
/// As for `products`; of the last register, only the first tile need be one of the `count`.
#[inline(always)]
unsafe fn some_tiles<V: Vector, const R: usize, const P: usize>(
    tiles: *const i8,
    next: &[i8],
    tile: usize,
    count: usize,
    gangs: usize,
    start: [i32; R],
    out: &mut [[i32; BLOCK]; R],
    step: impl Fn(V, V, usize, usize) -> V,
) -> usize {
    let tile_bytes = gangs * GANG;
    // SAFETY: gangs of tiles below `count`: a register whose second tile is missing reads its first one twice. It is then
    // the last of at most `TILES - 1` tiles, so that its lanes, too, have room in `out`.
    unsafe {
        let first = tiles.add(tile * tile_bytes).cast::<u8>();
        let stride = if tile + 1 < count { tile_bytes } else { 0 };
        let mut sums: [[V; P]; R] = core::array::from_fn(|r| [V::splat(start[r]); P]);
        for gang in 0..gangs {
            if !next.is_empty() {
                let bytes = P * V::TILES * GANG;
                dots::prefetch(next.as_ptr().wrapping_add(tile * tile_bytes + gang * bytes), bytes);
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
