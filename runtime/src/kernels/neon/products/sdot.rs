//! Products by `sdot`, which adds four products of bytes to each 32-bit lane, the four activations being a quarter of a
//! register.

use super::{Blocks, Floats, Ints, Level, Sums, Weights, block_by_block};
use crate::kernels::neon::asm::{FourByEight, TOKENS, sdot_block, sdot_q4, sdot_q8, sdot_two};
use crate::kernels::product::Operands;
use core::arch::aarch64::*;
use kinglet_quant::{DType, LANES};

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

    /// The sums of eight tokens stay in registers throughout, four rows at a time; those of fewer go block by block.
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `add`")]
    unsafe fn products<Q: Blocks, const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
        if T != TOKENS {
            return block_by_block::<Self, Q, P, T>(o);
        }
        let mut products = [[[vdupq_n_f32(0.0); 2]; T]; P];
        for p in 0..P {
            let unit = o.unit::<Q>(p, 0);
            for half in 0..2 {
                let operands = FourByEight {
                    weights: unit.add(16 * half),
                    scales: unit.add(Q::SCALES_AT + LANES / 2 * half),
                    units: o.n_units(),
                    x: o.quants(0, 0),
                    stride: o.stride(),
                    token_scales: o.scales(0),
                    groups: o.groups(),
                };
                let sums = if Q::DTYPE == DType::Q4 { sdot_q4(operands) } else { sdot_q8(operands) };
                for t in 0..T {
                    products[p][t][half] = sums[t];
                }
            }
        }
        products
    }
}
