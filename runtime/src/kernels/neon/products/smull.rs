//! Products for ARMv8.0, which multiplies bytes to 16 bits, eight at a time: activations are spread so that each byte of
//! weights meets its own.

use super::{Ints, Level, Sums, Weights};
use crate::kernels::neon::asm::opaque;
use core::arch::aarch64::*;
use kinglet_quant::BLOCK;

/// See [`Level`].
pub(in crate::kernels::neon) struct Smull;

impl Level for Smull {
    const TOKENS: usize = 16;
    const RUNS_ON: bool = false;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "instructions throughout, under the one duty of the caller")]
    unsafe fn arrange<const T: usize>(weights: Weights) -> Weights {
        let mut arranged = weights;
        for four in 0..BLOCK / 4 {
            for rows in 0..2 {
                arranged[four][rows] = opaque(weights[four][rows]);
            }
        }
        arranged
    }

    /// The eight products that a 16-bit lane takes up in a block fit, and so does the sum of two lanes; see
    /// [`kinglet_quant::q4`].
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn add_q4<const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
        for t in 0..T {
            let x = spread(x.add(t * stride));
            // Two rows to a register, four places each.
            let mut places = [vdupq_n_s16(0); 4];
            for four in 0..BLOCK / 4 {
                for rows in 0..2 {
                    let w = weights[four][rows];
                    places[2 * rows] = vmlal_s8(places[2 * rows], vget_low_s8(w), vget_low_s8(x[four]));
                    places[2 * rows + 1] = vmlal_high_s8(places[2 * rows + 1], w, x[four]);
                }
            }
            for rows in 0..2 {
                let dots = vpaddlq_s16(vpaddq_s16(places[2 * rows], places[2 * rows + 1]));
                sums[t].product[rows] = vmlaq_s32(sums[t].product[rows], dots, scales[rows]);
            }
        }
    }

    /// Two products fit 16 bits and three do not, so that pairs go to 32 bits; see [`kinglet_quant::q8`].
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `add_q4`")]
    unsafe fn add_q8<const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
        for t in 0..T {
            let x = spread(x.add(t * stride));
            // Two rows to a register, two pairs of places each.
            let mut places = [vdupq_n_s32(0); 4];
            for four in (0..BLOCK / 4).step_by(2) {
                for rows in 0..2 {
                    let (v, w) = (weights[four][rows], weights[four + 1][rows]);
                    let pair = vmull_s8(vget_low_s8(v), vget_low_s8(x[four]));
                    let pair = vmlal_s8(pair, vget_low_s8(w), vget_low_s8(x[four + 1]));
                    places[2 * rows] = vpadalq_s16(places[2 * rows], pair);
                    let pair = vmlal_high_s8(vmull_high_s8(v, x[four]), w, x[four + 1]);
                    places[2 * rows + 1] = vpadalq_s16(places[2 * rows + 1], pair);
                }
            }
            for rows in 0..2 {
                let dots = vpaddq_s32(places[2 * rows], places[2 * rows + 1]);
                sums[t].product[rows] = vmlaq_s32(sums[t].product[rows], dots, scales[rows]);
            }
        }
    }

    #[inline(always)]
    unsafe fn restore<const T: usize>(_sums: &mut [Sums; T]) {}
}

/// The 32 activations at `x`, four at a time, for each of four rows.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `add_q4`")]
unsafe fn spread(x: *const i8) -> [int8x16_t; BLOCK / 4] {
    let mut spread = [vdupq_n_s8(0); BLOCK / 4];
    for half in 0..2 {
        let x = vreinterpretq_s32_s8(vld1q_s8(x.add(16 * half)));
        spread[4 * half] = vreinterpretq_s8_s32(vdupq_laneq_s32::<0>(x));
        spread[4 * half + 1] = vreinterpretq_s8_s32(vdupq_laneq_s32::<1>(x));
        spread[4 * half + 2] = vreinterpretq_s8_s32(vdupq_laneq_s32::<2>(x));
        spread[4 * half + 3] = vreinterpretq_s8_s32(vdupq_laneq_s32::<3>(x));
    }
    spread
}
