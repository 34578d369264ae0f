//! Products by `smmla`, which multiplies two rows by two tokens, eight inputs at once.

use super::sdot::Sdot;
use super::{Blocks, Ints, Level, Sums, Weights};
use crate::kernels::neon::asm::smmla_two;
use core::arch::aarch64::*;
use kinglet_quant::BLOCK;

/// See [`Level`]. One token has no second one to share a register with, and is left to [`Sdot`].
pub(in crate::kernels::neon) struct Smmla;

/// The sums of two tokens, four registers of dots and four of products: lane `2t + i` of register `r` is token `t` and row
/// `2r + i`. They lie where the [`Sums`] of the two tokens do.
type Pair = [[int32x4_t; 4]; 2];

impl Level for Smmla {
    const TOKENS: usize = 16;
    const RUNS_ON: bool = true;

    /// Eight inputs of rows `2r` and `2r + 1` in register `4k + r`.
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "instructions throughout, under the one duty of the caller")]
    unsafe fn arrange<const T: usize>(weights: Weights) -> Weights {
        const { assert!(T == 1 || T.is_multiple_of(2)) };
        if T == 1 {
            return weights;
        }
        let mut arranged = weights;
        for k in 0..BLOCK / 8 {
            for rows in 0..2 {
                let (first, second) = (vreinterpretq_s32_s8(weights[2 * k][rows]), vreinterpretq_s32_s8(weights[2 * k + 1][rows]));
                arranged[2 * k + rows] = [vreinterpretq_s8_s32(vzip1q_s32(first, second)), vreinterpretq_s8_s32(vzip2q_s32(first, second))];
            }
        }
        arranged
    }

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `arrange`")]
    unsafe fn add<Q: Blocks, const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
        if T == 1 {
            return Sdot::add::<Q, T>(weights, x, stride, scales, sums);
        }
        let scales = scales.map(|scales| vreinterpretq_s64_s32(scales));
        let mut twice = [vdupq_n_s32(0); 4];
        for half in 0..2 {
            twice[2 * half] = vreinterpretq_s32_s64(vzip1q_s64(scales[half], scales[half]));
            twice[2 * half + 1] = vreinterpretq_s32_s64(vzip2q_s64(scales[half], scales[half]));
        }
        for (i, two) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let x = x.add(2 * i * stride);
            smmla_two(weights, x, x.add(stride), twice, pair(two));
        }
    }

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `arrange`")]
    unsafe fn restore<const T: usize>(sums: &mut [Sums; T]) {
        for two in sums.as_chunks_mut::<2>().0 {
            let [_, product] = *pair(two);
            for half in 0..2 {
                let (first, second) = (vreinterpretq_s64_s32(product[2 * half]), vreinterpretq_s64_s32(product[2 * half + 1]));
                two[0].product[half] = vreinterpretq_s32_s64(vzip1q_s64(first, second));
                two[1].product[half] = vreinterpretq_s32_s64(vzip2q_s64(first, second));
            }
        }
    }
}

/// The sums of two tokens as a [`Pair`].
#[inline(always)]
fn pair(two: &mut [Sums; 2]) -> &mut Pair {
    const { assert!(size_of::<[Sums; 2]>() == size_of::<Pair>() && align_of::<Sums>() == align_of::<Pair>()) };
    // SAFETY: both are eight registers and nothing else.
    unsafe { &mut *core::ptr::from_mut(two).cast::<Pair>() }
}
