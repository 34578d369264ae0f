//! [`Products`] of `FEAT_I8MM`: one instruction adds the eight products of two lanes with each of two rows.
//!
//! Two gangs of a tile hold the eight bytes of a lane in two registers: a `zip` brings them together, two lanes a
//! register. Two rows are brought together once, before all tiles. A `zip` for each register of a tile is spent, and half
//! of the products of `sdot` are saved: from four rows on it pays.

use super::{GANG, Products, Tiles, sdot};
use crate::kernels::attention::{BLOCK, MAX_HEAD_DIM};
use crate::kernels::neon::asm::smmla;
use core::arch::aarch64::*;
use core::mem::MaybeUninit;
use kinglet_quant::LANES;

/// See [`Products`].
pub(in crate::kernels::neon) struct Smmla;

impl Products for Smmla {
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn products<const R: usize>(tiles: &Tiles<'_>, x: [*const i8; R], out: &mut [[i32; BLOCK]; R]) {
        // SAFETY: the caller's duty; with these features come those of `sdot`.
        unsafe {
            match R {
                4 | 8 => products(tiles, x, out),
                _ => sdot::Sdot::products(tiles, x, out),
            }
        }
    }
}

/// Pairs of rows at most.
const PAIRS: usize = Smmla::ROWS / 2;
/// Gangs of a tile at most: those of the longest query.
const MAX_GANGS: usize = MAX_HEAD_DIM / 4;

/// See [`Products::products`]; `R` is even.
#[inline(never)]
#[target_feature(enable = "neon,i8mm")]
unsafe fn products<const R: usize>(tiles: &Tiles<'_>, x: [*const i8; R], out: &mut [[i32; BLOCK]; R]) {
    assert!(tiles.gangs <= MAX_GANGS);
    // For each two gangs, the pairs of rows one after the other: eight bytes of the first row, eight of the second.
    let mut pairs = MaybeUninit::<[int8x16_t; MAX_GANGS / 2 * PAIRS]>::uninit();
    let pairs = pairs.as_mut_ptr().cast::<int8x16_t>();
    for step in 0..tiles.gangs / 2 {
        for pair in 0..R / 2 {
            // SAFETY: rows have eight bytes for every two gangs; there is room for the pairs of `MAX_GANGS / 2` steps.
            unsafe {
                let (a, b) = (vld1_s8(x[2 * pair].add(8 * step)), vld1_s8(x[2 * pair + 1].add(8 * step)));
                pairs.add(step * (R / 2) + pair).write(vcombine_s8(a, b));
            }
        }
    }
    let mut tile = 0;
    while tile < tiles.count {
        // Sixteen registers of sums.
        // SAFETY: the caller's duty; the tiles are there, and the pairs have just been written.
        tile += unsafe {
            match R {
                4 if tile + 2 <= tiles.count => some_tiles::<R, 2>(tiles, tile, pairs, out),
                _ => some_tiles::<R, 1>(tiles, tile, pairs, out),
            }
        };
    }
}

/// `P` tiles from `tile` on; returns `P`.
///
/// # Safety
/// The features are there, the tiles, and for every two gangs of a tile `R / 2` pairs.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "loads, stores and instructions, under the one duty of the caller")]
unsafe fn some_tiles<const R: usize, const P: usize>(
    tiles: &Tiles<'_>,
    tile: usize,
    pairs: *const int8x16_t,
    out: &mut [[i32; BLOCK]; R],
) -> usize {
    // Of two lanes and a pair: the first lane's two rows, then the second lane's.
    let mut sums = [[[vdupq_n_s32(0); 4]; PAIRS]; P];
    for step in 0..tiles.gangs / 2 {
        for p in 0..P {
            tiles.prefetch(tile + p, 2 * step, 2);
        }
        let pairs = pairs.add(step * (R / 2));
        for p in 0..P {
            let w = tiles.at(tile + p, 2 * step);
            for half in 0..2 {
                let first = vreinterpretq_s32_s8(vld1q_s8(w.add(16 * half)));
                let second = vreinterpretq_s32_s8(vld1q_s8(w.add(GANG + 16 * half)));
                let low = vreinterpretq_s8_s32(vzip1q_s32(first, second));
                let high = vreinterpretq_s8_s32(vzip2q_s32(first, second));
                for pair in 0..R / 2 {
                    let sums = &mut sums[p][pair];
                    sums[2 * half] = smmla(sums[2 * half], low, *pairs.add(pair));
                    sums[2 * half + 1] = smmla(sums[2 * half + 1], high, *pairs.add(pair));
                }
            }
        }
    }
    for p in 0..P {
        for pair in 0..R / 2 {
            for half in 0..2 {
                let (low, high) = (sums[p][pair][2 * half], sums[p][pair][2 * half + 1]);
                let at = (tile + p) * LANES + 4 * half;
                vst1q_s32(out[2 * pair].as_mut_ptr().add(at), vuzp1q_s32(low, high));
                vst1q_s32(out[2 * pair + 1].as_mut_ptr().add(at), vuzp2q_s32(low, high));
            }
        }
    }
    P
}
