//! Products by `sdot`, which adds four products of bytes to each 32-bit lane, the four activations being a quarter of a
//! register.

use super::{Blocks, Floats, Ints, Level, Sums, Weights, block_by_block, scales};
use crate::kernels::neon::asm::{TOKENS, Twelve, sdot_block, sdot_q4, sdot_q8, sdot_two};
use crate::kernels::product::Operands;
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, DType, act};

/// See [`Level`].
pub(in crate::kernels::neon) struct Sdot;

impl Level for Sdot {
    const TOKENS: usize = TOKENS;
    const RUNS_ON: bool = true;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn add<Q: Blocks, const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]) {
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

    /// The sums of twelve tokens stay in registers, four rows at a time; those of fewer go block by block.
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `add`")]
    unsafe fn group<Q: Blocks, const P: usize, const T: usize>(o: &Operands<P>, group: usize, products: &mut [[Floats; T]; P]) {
        if T != TOKENS {
            return block_by_block::<Self, Q, P, T>(o, group, products);
        }
        let blocks = o.blocks(group);
        let mut token_scales = [0.0; TOKENS];
        for t in 0..T {
            token_scales[t] = o.scale(t, group);
        }
        for p in 0..P {
            let mut differences = [Sums::ZERO.dots; act::GROUP / BLOCK];
            for (differences, b) in differences.iter_mut().zip(blocks.clone()) {
                *differences = scales::<Q, P>(o, p, group, b, true);
            }
            for half in 0..2 {
                let operands = Twelve {
                    weights: o.unit::<Q>(p, blocks.start / 2).add(16 * half),
                    blocks: blocks.len(),
                    scales: differences.as_ptr().cast::<int32x4_t>().add(half),
                    x: o.quants(0, blocks.start * BLOCK),
                    stride: o.stride(),
                    token_scales: &token_scales,
                    out: products[p].as_mut_ptr().cast::<float32x4_t>().add(half),
                };
                if Q::DTYPE == DType::Q4 {
                    sdot_q4(operands);
                } else {
                    sdot_q8(operands);
                }
            }
        }
    }
}
