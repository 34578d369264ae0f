//! [`Products`] of `FEAT_DotProd`: one instruction adds the four products of each of four lanes of a tile.

use super::{GANG, Products, Tiles};
use crate::kernels::attention::BLOCK;
use crate::kernels::neon::asm::sdot_lane;
use core::arch::aarch64::*;
use kinglet_quant::LANES;

/// See [`Products`].
pub(in crate::kernels::neon) struct Sdot;

impl Products for Sdot {
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn products<const R: usize>(tiles: &Tiles<'_>, x: [*const i8; R], out: &mut [[i32; BLOCK]; R]) {
        // SAFETY: the caller's duty.
        unsafe { products(tiles, x, out) }
    }
}

/// See [`Products::products`].
#[inline(never)]
#[target_feature(enable = "neon,dotprod")]
unsafe fn products<const R: usize>(tiles: &Tiles<'_>, x: [*const i8; R], out: &mut [[i32; BLOCK]; R]) {
    let mut tile = 0;
    while tile < tiles.count {
        // Eight registers of sums keep two units busy that take four cycles; sixteen spare loads of the rows as well.
        // SAFETY: the caller's duty; the tiles are there.
        tile += unsafe {
            match R {
                1 | 2 if tile + 4 <= tiles.count => some_tiles::<R, 4>(tiles, tile, &x, out),
                ..=4 if tile + 2 <= tiles.count => some_tiles::<R, 2>(tiles, tile, &x, out),
                _ => some_tiles::<R, 1>(tiles, tile, &x, out),
            }
        };
    }
}

/// Gangs whose four bytes of a row fill a register.
const CHUNK: usize = 4;

/// `P` tiles from `tile` on; returns `P`.
///
/// # Safety
/// As for [`Products::products`], and the tiles are there.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "loads, stores and instructions, under the one duty of the caller")]
unsafe fn some_tiles<const R: usize, const P: usize>(
    tiles: &Tiles<'_>,
    tile: usize,
    x: &[*const i8; R],
    out: &mut [[i32; BLOCK]; R],
) -> usize {
    let mut sums = [[[vdupq_n_s32(0); 2]; R]; P];
    let mut fours = [vdupq_n_s8(0); R];
    let whole = tiles.gangs / CHUNK * CHUNK;
    for first in (0..whole).step_by(CHUNK) {
        for p in 0..P {
            tiles.prefetch(tile + p, first, CHUNK);
        }
        for r in 0..R {
            fours[r] = vld1q_s8(x[r].add(4 * first));
        }
        gang::<0, R, P>(tiles, tile, first, &fours, &mut sums);
        gang::<1, R, P>(tiles, tile, first + 1, &fours, &mut sums);
        gang::<2, R, P>(tiles, tile, first + 2, &fours, &mut sums);
        gang::<3, R, P>(tiles, tile, first + 3, &fours, &mut sums);
    }
    if whole < tiles.gangs {
        for p in 0..P {
            tiles.prefetch(tile + p, whole, 2);
        }
        for r in 0..R {
            fours[r] = vcombine_s8(vld1_s8(x[r].add(4 * whole)), vdup_n_s8(0));
        }
        gang::<0, R, P>(tiles, tile, whole, &fours, &mut sums);
        gang::<1, R, P>(tiles, tile, whole + 1, &fours, &mut sums);
    }
    for p in 0..P {
        for r in 0..R {
            let out = out[r].as_mut_ptr().add((tile + p) * LANES);
            vst1q_s32(out, sums[p][r][0]);
            vst1q_s32(out.add(4), sums[p][r][1]);
        }
    }
    P
}

/// Adds the products of one gang of every tile with the four bytes in lane `LANE` of every row.
///
/// # Safety
/// The features are there, and the gang.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "loads and instructions, under the one duty of the caller")]
unsafe fn gang<const LANE: i32, const R: usize, const P: usize>(
    tiles: &Tiles<'_>,
    tile: usize,
    gang: usize,
    fours: &[int8x16_t; R],
    sums: &mut [[[int32x4_t; 2]; R]; P],
) {
    for p in 0..P {
        let w = tiles.at(tile + p, gang);
        let (low, high) = (vld1q_s8(w), vld1q_s8(w.add(GANG / 2)));
        for r in 0..R {
            sums[p][r][0] = sdot_lane::<LANE>(sums[p][r][0], low, fours[r]);
            sums[p][r][1] = sdot_lane::<LANE>(sums[p][r][1], high, fours[r]);
        }
    }
}
