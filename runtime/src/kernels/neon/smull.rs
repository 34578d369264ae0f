//! Products for ARMv8.0, which multiplies bytes to 16 bits, eight at a time: activations are spread so that each byte of
//! weights meets its own.

use super::products::{Ints, Level, Q4, Q8, differences, load_scales, widen};
use crate::kernels::product::Operands;
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, LANES, q4, q8};

/// See [`Level`].
pub(super) struct Smull;

impl Level for Smull {
    // Sixteen sums, four registers of weights, two of activations, the results of products.
    const TOKENS: [usize; 2] = [4, 4];

    /// The eight products that a 16-bit lane takes up in a block fit, and so does the sum of two lanes; see
    /// [`kinglet_quant::q4`].
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn q4<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T] {
        let mask = vdupq_n_u8(q4::QUANT_MAX);
        let mut product = [[vdupq_n_s32(0); 2]; T];
        for u in o.units(group) {
            let scales = load_scales(o.unit::<Q4<Self>>(p, u).add(q4::SCALES_AT));
            for block in 0..2 {
                // Two rows to a register, four places each.
                let mut sums = [[vdupq_n_s16(0); 4]; T];
                for load in 4 * block..4 * block + 4 {
                    let packed = o.unit::<Q4<Self>>(p, u).add(4 * LANES * load);
                    let packed = [vld1q_u8(packed), vld1q_u8(packed.add(16))];
                    for nibble in 0..2 {
                        let mut weights = [vdupq_n_s8(0); 2];
                        for rows in 0..2 {
                            let bytes = if nibble == 0 { vandq_u8(packed[rows], mask) } else { vshrq_n_u8::<4>(packed[rows]) };
                            weights[rows] = vreinterpretq_s8_u8(bytes);
                        }
                        for t in 0..T {
                            let x = spread(o.quants(t, u * 64 + 8 * load + 4 * nibble));
                            for rows in 0..2 {
                                sums[t][2 * rows] = vmlal_s8(sums[t][2 * rows], vget_low_s8(weights[rows]), vget_low_s8(x));
                                sums[t][2 * rows + 1] = vmlal_high_s8(sums[t][2 * rows + 1], weights[rows], x);
                            }
                        }
                    }
                }
                let scales = widen(scales[block]);
                for t in 0..T {
                    for rows in 0..2 {
                        let pairs = vpaddq_s16(sums[t][2 * rows], sums[t][2 * rows + 1]);
                        product[t][rows] = vmlaq_s32(product[t][rows], vpaddlq_s16(pairs), scales[rows]);
                    }
                }
            }
        }
        product
    }

    /// Two products fit 16 bits and three do not, so that pairs go to 32 bits; see [`kinglet_quant::q8`].
    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
    unsafe fn q8<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T] {
        let scales = differences::<Q8<Self>, P>(o, p, group, q8::SCALES_AT);
        let mut product = [[vdupq_n_s32(0); 2]; T];
        // Two rows to a register, two pairs of places each.
        let mut sums = [[vdupq_n_s32(0); 4]; T];
        for (b, at) in o.blocks(group).enumerate() {
            let (u, block) = (at / 2, at % 2);
            for load in (0..8).step_by(2) {
                let bytes = o.unit::<Q8<Self>>(p, u).add(4 * LANES * (8 * block + load)).cast::<i8>();
                let mut weights = [vdupq_n_s8(0); 4];
                for i in 0..4 {
                    weights[i] = vld1q_s8(bytes.add(16 * i));
                }
                for t in 0..T {
                    let x = o.quants(t, at * BLOCK + 4 * load);
                    let x = [spread(x), spread(x.add(4))];
                    for rows in 0..2 {
                        let (first, second) = (weights[rows], weights[2 + rows]);
                        let pair = vmull_s8(vget_low_s8(first), vget_low_s8(x[0]));
                        let pair = vmlal_s8(pair, vget_low_s8(second), vget_low_s8(x[1]));
                        sums[t][2 * rows] = vpadalq_s16(sums[t][2 * rows], pair);
                        let pair = vmlal_high_s8(vmull_high_s8(first, x[0]), second, x[1]);
                        sums[t][2 * rows + 1] = vpadalq_s16(sums[t][2 * rows + 1], pair);
                    }
                }
            }
            for t in 0..T {
                for rows in 0..2 {
                    let dots = vpaddq_s32(sums[t][2 * rows], sums[t][2 * rows + 1]);
                    product[t][rows] = vmlaq_s32(product[t][rows], dots, scales[b][rows]);
                }
            }
        }
        product
    }
}

/// Four activations for each of four rows.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
unsafe fn spread(x: *const i8) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()))
}
