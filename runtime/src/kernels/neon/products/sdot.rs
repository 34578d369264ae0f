//! Products by `sdot`, which adds four products of bytes to each 32-bit lane, the four activations being a quarter of a
//! register.

use super::{Blocks, Ints, Level, Q4, Q8, Sums, Weights, block_by_block, scales};
use crate::kernels::neon::asm::{self, TOKENS, sdot_block, sdot_two};
use crate::kernels::product::Operands;
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, act};

/// See [`Level`].
pub(in crate::kernels::neon) struct Sdot;

impl Level for Sdot {
    const TOKENS: usize = TOKENS;
    const RUNS_ON: bool = true;

    #[inline(always)]
    unsafe fn arrange<const T: usize>(weights: Weights) -> Weights {
        weights
    }

    #[inline(always)]
    unsafe fn add_q4<const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
        // SAFETY: the caller's duty.
        unsafe { add(weights, x, stride, scales, sums) }
    }

    #[inline(always)]
    unsafe fn add_q8<const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
        // SAFETY: the caller's duty.
        unsafe { add(weights, x, stride, scales, sums) }
    }

    #[inline(always)]
    unsafe fn q4<const P: usize, const T: usize>(o: &Operands<P>, group: usize, sums: &mut [[Sums; T]; P]) {
        // SAFETY: the caller's duty.
        unsafe { in_registers_or::<Q4<Self>, P, T>(o, group, sums, asm::sdot_q4) }
    }

    #[inline(always)]
    unsafe fn q8<const P: usize, const T: usize>(o: &Operands<P>, group: usize, sums: &mut [[Sums; T]; P]) {
        // SAFETY: the caller's duty.
        unsafe { in_registers_or::<Q8<Self>, P, T>(o, group, sums, asm::sdot_q8) }
    }

    #[inline(always)]
    unsafe fn restore<const T: usize>(_sums: &mut [Sums; T]) {}
}

/// [`Level::add_q4`] and [`Level::add_q8`].
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
unsafe fn add<const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
    let (pairs, rest) = sums.as_chunks_mut::<2>();
    for (i, pair) in pairs.iter_mut().enumerate() {
        let x = x.add(2 * i * stride);
        sdot_two(weights, x, x.add(stride), scales, pair);
    }
    // A token that is alone keeps its sums in registers from block to block.
    for sums in rest {
        sums.dots = sdot_block(sums.dots, weights, x.add((T - 1) * stride));
        for half in 0..2 {
            sums.product[half] = vmlaq_s32(sums.product[half], sums.dots[half], scales[half]);
        }
    }
}

/// The sums of a group: those of twelve tokens stay in registers, four rows at a time, and any others go block by block.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `add`")]
unsafe fn in_registers_or<Q: Blocks, const P: usize, const T: usize>(
    o: &Operands<P>,
    group: usize,
    sums: &mut [[Sums; T]; P],
    twelve: asm::Twelve,
) {
    if T != TOKENS {
        return block_by_block::<Sdot, Q, P, T>(o, group, sums);
    }
    let blocks = o.blocks(group);
    for p in 0..P {
        let mut differences = [Sums::ZERO.dots; act::GROUP / BLOCK];
        for (differences, b) in differences.iter_mut().zip(blocks.clone()) {
            *differences = scales::<Q, P>(o, p, group, b, true);
        }
        for half in 0..2 {
            let weights = o.unit::<Q>(p, blocks.start / 2).add(16 * half);
            let (first, out) = (&raw const differences[0][half], &raw mut sums[p][0].product[half]);
            twelve(weights, blocks.len(), o.quants(0, blocks.start * BLOCK), o.stride(), first, out);
        }
    }
}
