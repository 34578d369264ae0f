//! [`Products`] of ARMv8.0: bytes to 16 bits, two products to a sum, and pairs of sums to 32 bits.
//!
//! A sum of two products is at most 2 * 127 * 127 and fits 16 bits. Each lane of a tile thus has two sums of 32 bits, for
//! the first and the second half of its four bytes, and four registers hold those of a tile.

use super::{GANG, Products, Tiles};
use crate::kernels::attention::BLOCK;
use core::arch::aarch64::*;
use kinglet_quant::LANES;

/// See [`Products`].
pub(in crate::kernels::neon) struct Smull;

impl Products for Smull {
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn products<const R: usize>(tiles: &Tiles<'_>, x: [*const i8; R], out: &mut [[i32; BLOCK]; R]) {
        // SAFETY: the caller's duty.
        unsafe {
            if R == 4 {
                // Two rows and two tiles need fewer loads than four rows and one, and registers to spare.
                for (x, out) in x.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<2>().0) {
                    products(tiles, *x, out);
                }
            } else {
                products(tiles, x, out);
            }
        }
    }
}

/// See [`Products::products`].
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn products<const R: usize>(tiles: &Tiles<'_>, x: [*const i8; R], out: &mut [[i32; BLOCK]; R]) {
    let mut tile = 0;
    while tile < tiles.count {
        // At most sixteen registers of sums: more would not leave the others room.
        // SAFETY: the caller's duty; the tiles are there.
        tile += unsafe {
            match R {
                1 | 2 if tile + 2 <= tiles.count => some_tiles::<R, 2>(tiles, tile, &x, out),
                _ => some_tiles::<R, 1>(tiles, tile, &x, out),
            }
        };
    }
}

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
    let mut sums = [[[vdupq_n_s32(0); 4]; P]; R];
    for gang in (0..tiles.gangs).step_by(2) {
        for p in 0..P {
            tiles.prefetch(tile + p, gang, 2);
        }
        let mut fours = [[vdup_n_s8(0); 2]; R];
        for r in 0..R {
            for i in 0..2 {
                fours[r][i] = vreinterpret_s8_s32(vdup_n_s32(x[r].add(4 * (gang + i)).cast::<i32>().read_unaligned()));
            }
        }
        for p in 0..P {
            // Two lanes at a time: half registers are what the instructions take, and what small cores load best.
            for two in 0..4 {
                let w = tiles.at(tile + p, gang).add(8 * two);
                let (first, second) = (vld1_s8(w), vld1_s8(w.add(GANG)));
                for r in 0..R {
                    let pair = vmlal_s8(vmull_s8(first, fours[r][0]), second, fours[r][1]);
                    sums[r][p][two] = vpadalq_s16(sums[r][p][two], pair);
                }
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            let (out, sums) = (out[r].as_mut_ptr().add((tile + p) * LANES), sums[r][p]);
            vst1q_s32(out, vpaddq_s32(sums[0], sums[1]));
            vst1q_s32(out.add(4), vpaddq_s32(sums[2], sums[3]));
        }
    }
    P
}
