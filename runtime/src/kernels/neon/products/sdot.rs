//! Products by `sdot`, which adds four products of bytes to each 32-bit lane, the four activations being a quarter of a
//! register.

use super::{Blocks, Floats, Ints, Level, Sums, Weights, block_by_block};
use crate::kernels::neon::asm::{
    Many, sdot_block, sdot_q4_eight_by_four, sdot_q4_four_by_eight, sdot_q8_eight_by_four, sdot_q8_four_by_eight, sdot_two,
};
use crate::kernels::product::Operands;
use core::arch::aarch64::*;
use kinglet_quant::{DType, LANES, UNIT, act};

/// See [`Level`].
pub(in crate::kernels::neon) struct Sdot;

impl Level for Sdot {
    const TOKENS: usize = 8;
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

    /// Many inputs at once: of eight tokens with four rows at a time, of four with all rows. Fewer tokens go block by block.
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `add`")]
    unsafe fn products<Q: Blocks, const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
        if T != 4 && T != 8 {
            return block_by_block::<Self, Q, P, T>(o);
        }
        let is_q4 = Q::DTYPE == DType::Q4;
        let mut products = [[[vdupq_n_f32(0.0); 2]; T]; P];
        for p in 0..P {
            let mut sums = [[vdupq_n_f32(0.0); 8]; 2];
            for unit in (0..o.n_units()).step_by(MANY) {
                let many = |half: usize| Many {
                    weights: o.unit::<Q>(p, unit).add(16 * half),
                    scales: o.unit::<Q>(p, unit).add(Q::SCALES_AT + LANES / 2 * half),
                    units: MANY.min(o.n_units() - unit),
                    x: o.quants(0, unit * UNIT),
                    stride: o.stride(),
                    token_scales: o.scales(0).add(unit * UNIT / act::GROUP),
                    groups: o.groups(),
                };
                match (T, is_q4) {
                    (4, true) => sums[0] = sdot_q4_eight_by_four(many(0), sums[0]),
                    (4, false) => sums[0] = sdot_q8_eight_by_four(many(0), sums[0]),
                    (_, true) => {
                        for half in 0..2 {
                            sums[half] = sdot_q4_four_by_eight(many(half), sums[half]);
                        }
                    }
                    (_, false) => {
                        for half in 0..2 {
                            sums[half] = sdot_q8_four_by_eight(many(half), sums[half]);
                        }
                    }
                }
            }
            for t in 0..T {
                products[p][t] = if T == 4 { [sums[0][t], sums[0][4 + t]] } else { [sums[0][t], sums[1][t]] };
            }
        }
        products
    }
}

/// Units that both halves of a tile meet before the next ones: 1,024 inputs, of which eight tokens and a tile fill half of a
/// first cache of 32 KiB.
const MANY: usize = 16;
const _: () = assert!((MANY * UNIT).is_multiple_of(act::GROUP));
