//! The table for AArch64 with `FEAT_DotProd`: `sdot` adds four products of bytes to each 32-bit lane, the four activations
//! being a quarter of a register.

use super::asm::sdot_lane;
use super::products::{Ints, Level, Q4, Q8, differences};
use crate::isa::{DotProd, Isa, dotprod_entry};
use crate::kernels::product::{Operands, matmul};
use crate::kernels::{Kernels, neon};
use crate::tensor::{Acts, Matrix, Outputs};
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, LANES, q4, q8};

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: DotProd) -> &'static Kernels {
    static TABLE: Kernels = KERNELS;
    &TABLE
}

/// What the tables of larger instruction sets take over.
pub(super) const KERNELS: Kernels = Kernels { isa: Isa::DotProd, matmul_q4, matmul_q8, ..neon::KERNELS };

dotprod_entry! {
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<Sdot>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<Sdot>>;
}

/// See [`Level`].
pub(super) struct Sdot;

impl Level for Sdot {
    // Sixteen sums, eight registers of weights, activations.
    const TOKENS: [usize; 2] = [8, 8];

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn q4<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T] {
        let mask = vdupq_n_u8(q4::QUANT_MAX);
        let scales = differences::<Q4<Self>, P>(o, p, group, q4::SCALES_AT);
        let mut product = [[vdupq_n_s32(0); 2]; T];
        let mut dots = product;
        for (b, at) in o.blocks(group).enumerate() {
            let (u, block) = (at / 2, at % 2);
            for half in 0..2 {
                // Four inputs of eight rows in two registers, four times.
                let mut weights = [[vdupq_n_s8(0); 2]; 4];
                for load in 0..2 {
                    let packed = o.unit::<Q4<Self>>(p, u).add(4 * LANES * (4 * block + 2 * half + load));
                    for rows in 0..2 {
                        let packed = vld1q_u8(packed.add(16 * rows));
                        weights[2 * load][rows] = vreinterpretq_s8_u8(vandq_u8(packed, mask));
                        weights[2 * load + 1][rows] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(packed));
                    }
                }
                for t in 0..T {
                    let x = vld1q_s8(o.quants(t, at * BLOCK + 16 * half));
                    dots[t] = add_dots(dots[t], &weights, x);
                }
            }
            add_products(&mut product, &dots, scales[b]);
        }
        product
    }

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
    unsafe fn q8<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T] {
        let scales = differences::<Q8<Self>, P>(o, p, group, q8::SCALES_AT);
        let mut product = [[vdupq_n_s32(0); 2]; T];
        let mut dots = product;
        for (b, at) in o.blocks(group).enumerate() {
            let (u, block) = (at / 2, at % 2);
            for half in 0..2 {
                let mut weights = [[vdupq_n_s8(0); 2]; 4];
                for four in 0..4 {
                    let bytes = o.unit::<Q8<Self>>(p, u).add(4 * LANES * (8 * block + 4 * half + four)).cast::<i8>();
                    weights[four] = [vld1q_s8(bytes), vld1q_s8(bytes.add(16))];
                }
                for t in 0..T {
                    let x = vld1q_s8(o.quants(t, at * BLOCK + 16 * half));
                    dots[t] = add_dots(dots[t], &weights, x);
                }
            }
            add_products(&mut product, &dots, scales[b]);
        }
        product
    }
}

/// `dots` and the products of sixteen inputs of eight rows.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
unsafe fn add_dots(dots: Ints, weights: &[[int8x16_t; 2]; 4], x: int8x16_t) -> Ints {
    let [mut low, mut high] = dots;
    low = sdot_lane::<0>(low, weights[0][0], x);
    high = sdot_lane::<0>(high, weights[0][1], x);
    low = sdot_lane::<1>(low, weights[1][0], x);
    high = sdot_lane::<1>(high, weights[1][1], x);
    low = sdot_lane::<2>(low, weights[2][0], x);
    high = sdot_lane::<2>(high, weights[2][1], x);
    low = sdot_lane::<3>(low, weights[3][0], x);
    high = sdot_lane::<3>(high, weights[3][1], x);
    [low, high]
}

/// `product += dots * scales` for every token.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
unsafe fn add_products<const T: usize>(product: &mut [Ints; T], dots: &[Ints; T], scales: Ints) {
    for t in 0..T {
        for half in 0..2 {
            product[t][half] = vmlaq_s32(product[t][half], dots[t][half], scales[half]);
        }
    }
}
