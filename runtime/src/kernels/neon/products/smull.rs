//! Products for ARMv8.0, which multiplies bytes to 16 bits, eight at a time: activations are spread so that each byte of
//! weights meets its own.

use super::{Blocks, Ints, Level, Sums, Weights};
use crate::kernels::neon::asm::opaque;
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, DType};

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

    /// Two tokens at a time, so that a machine that starts instructions in their order finds one that need not wait.
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `arrange`")]
    unsafe fn add<Q: Blocks, const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
        let (pairs, rest) = sums.as_chunks_mut::<2>();
        for (i, pair) in pairs.iter_mut().enumerate() {
            let x = x.add(2 * i * stride);
            let dots = dots::<Q, 2>(weights, [x, x.add(stride)]);
            for t in 0..2 {
                add_product(&mut pair[t], dots[t], scales);
            }
        }
        for sums in rest {
            let [dots] = dots::<Q, 1>(weights, [x.add((T - 1) * stride)]);
            add_product(sums, dots, scales);
        }
    }
}

/// `product += dots * scales`.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `arrange`")]
unsafe fn add_product(sums: &mut Sums, dots: Ints, scales: Ints) {
    for rows in 0..2 {
        sums.product[rows] = vmlaq_s32(sums.product[rows], dots[rows], scales[rows]);
    }
}

/// `Σ q x` of a block for `N` tokens.
#[inline(always)]
unsafe fn dots<Q: Blocks, const N: usize>(weights: &Weights, x: [*const i8; N]) -> [Ints; N] {
    // SAFETY: the caller's duty.
    unsafe { if Q::DTYPE == DType::Q4 { q4_dots(weights, x) } else { q8_dots(weights, x) } }
}

/// [`dots`] of q4 weights. The eight products that a 16-bit lane takes up fit, and so does the sum of two
/// lanes; see [`kinglet_quant::q4`].
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `arrange`")]
unsafe fn q4_dots<const N: usize>(weights: &Weights, x: [*const i8; N]) -> [Ints; N] {
    // Two rows to a register, four places each.
    let mut places = [[vdupq_n_s16(0); 4]; N];
    for four in 0..BLOCK / 4 {
        let mut spread = [vdupq_n_s8(0); N];
        for t in 0..N {
            spread[t] = self::spread(x[t].add(4 * four));
        }
        for rows in 0..2 {
            let w = weights[four][rows];
            for t in 0..N {
                let (low, high) = (places[t][2 * rows], places[t][2 * rows + 1]);
                if four == 0 {
                    places[t][2 * rows] = vmull_s8(vget_low_s8(w), vget_low_s8(spread[t]));
                    places[t][2 * rows + 1] = vmull_high_s8(w, spread[t]);
                } else {
                    places[t][2 * rows] = vmlal_s8(low, vget_low_s8(w), vget_low_s8(spread[t]));
                    places[t][2 * rows + 1] = vmlal_high_s8(high, w, spread[t]);
                }
            }
        }
    }
    let mut dots = [Sums::ZERO.dots; N];
    for t in 0..N {
        for rows in 0..2 {
            dots[t][rows] = vpaddlq_s16(vpaddq_s16(places[t][2 * rows], places[t][2 * rows + 1]));
        }
    }
    dots
}

/// [`dots`] of q8 weights. Two products fit 16 bits and three do not, so that pairs go to 32 bits; see [`kinglet_quant::q8`].
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `arrange`")]
unsafe fn q8_dots<const N: usize>(weights: &Weights, x: [*const i8; N]) -> [Ints; N] {
    // Two rows to a register, two pairs of places each.
    let mut places = [[vdupq_n_s32(0); 4]; N];
    for four in (0..BLOCK / 4).step_by(2) {
        let mut spread = [[vdupq_n_s8(0); 2]; N];
        for t in 0..N {
            spread[t] = [self::spread(x[t].add(4 * four)), self::spread(x[t].add(4 * four + 4))];
        }
        for rows in 0..2 {
            let (v, w) = (weights[four][rows], weights[four + 1][rows]);
            for t in 0..N {
                let [x, y] = spread[t];
                let low = vmlal_s8(vmull_s8(vget_low_s8(v), vget_low_s8(x)), vget_low_s8(w), vget_low_s8(y));
                let high = vmlal_high_s8(vmull_high_s8(v, x), w, y);
                for (place, pair) in [(2 * rows, low), (2 * rows + 1, high)] {
                    let sum = places[t][place];
                    places[t][place] = if four == 0 { vpaddlq_s16(pair) } else { vpadalq_s16(sum, pair) };
                }
            }
        }
    }
    let mut dots = [Sums::ZERO.dots; N];
    for t in 0..N {
        for rows in 0..2 {
            dots[t][rows] = vpaddq_s32(places[t][2 * rows], places[t][2 * rows + 1]);
        }
    }
    dots
}

/// The four activations at `x`, for each of four rows.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `arrange`")]
unsafe fn spread(x: *const i8) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()))
}
