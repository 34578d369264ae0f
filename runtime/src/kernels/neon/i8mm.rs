//! The table for AArch64 with `FEAT_I8MM`: `smmla` multiplies two rows by two tokens, eight inputs at once.

use super::asm::smmla;
use super::dotprod::{self, Sdot};
use super::products::{Ints, Level, Q4, Q8, differences};
use crate::isa::{I8mm, Isa, i8mm_entry};
use crate::kernels::Kernels;
use crate::kernels::product::{Operands, matmul};
use crate::tensor::{Acts, Matrix, Outputs};
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, LANES, q4, q8};

/// The table, against the proof that this machine can run it.
pub(in crate::kernels) fn kernels(_cpu: I8mm) -> &'static Kernels {
    static TABLE: Kernels = Kernels { isa: Isa::I8mm, matmul_q4, matmul_q8, ..dotprod::KERNELS };
    &TABLE
}

i8mm_entry! {
    fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q4<Smmla>>;
    fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) = matmul::<Q8<Smmla>>;
}

/// See [`Level`]. One token has no second one to share a register with, and takes the kernels of [`Sdot`].
pub(super) struct Smmla;

/// Sums of a pair of tokens: lane `2j + i` of register `r` is row `2r + i` and token `j`.
type Pair = [int32x4_t; LANES / 2];

impl Level for Smmla {
    const TOKENS: [usize; 2] = [8, 8];

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn q4<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T] {
        if T == 1 {
            return Sdot::q4::<P, T>(o, p, group);
        }
        let mask = vdupq_n_u8(q4::QUANT_MAX);
        let scales = differences::<Q4<Self>, P>(o, p, group, q4::SCALES_AT);
        let mut product = [[vdupq_n_s32(0); 4]; T];
        let mut dots = product;
        for (b, at) in o.blocks(group).enumerate() {
            let (u, block) = (at / 2, at % 2);
            for half in 0..2 {
                let mut weights = [[vdupq_n_s8(0); 4]; 2];
                let packed = o.unit::<Q4<Self>>(p, u).add(4 * LANES * (4 * block + 2 * half));
                for rows in 0..2 {
                    let (first, second) = (load_u32s(packed.add(16 * rows)), load_u32s(packed.add(4 * LANES + 16 * rows)));
                    for (i, packed) in [vzip1q_u32(first, second), vzip2q_u32(first, second)].into_iter().enumerate() {
                        let packed = vreinterpretq_u8_u32(packed);
                        // Inputs 0..4 and 8..12; inputs 4..8 and 12..16.
                        weights[0][2 * rows + i] = vreinterpretq_s8_u8(vandq_u8(packed, mask));
                        weights[1][2 * rows + i] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(packed));
                    }
                }
                add_dots(o, at * BLOCK + 16 * half, &weights, &mut dots);
            }
            add_products(&mut product, &dots, scales[b]);
        }
        to_rows(&product)
    }

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
    unsafe fn q8<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T] {
        if T == 1 {
            return Sdot::q8::<P, T>(o, p, group);
        }
        let scales = differences::<Q8<Self>, P>(o, p, group, q8::SCALES_AT);
        let mut product = [[vdupq_n_s32(0); 4]; T];
        let mut dots = product;
        for (b, at) in o.blocks(group).enumerate() {
            let (u, block) = (at / 2, at % 2);
            for half in 0..2 {
                let mut weights = [[vdupq_n_s8(0); 4]; 2];
                let bytes = o.unit::<Q8<Self>>(p, u).add(4 * LANES * (8 * block + 4 * half));
                for k in 0..2 {
                    for rows in 0..2 {
                        // Inputs `4k..4k + 4` and `8 + 4k..`, as the activations stand.
                        let (first, second) = (bytes.add(4 * LANES * k + 16 * rows), bytes.add(4 * LANES * (k + 2) + 16 * rows));
                        let (first, second) = (load_u32s(first), load_u32s(second));
                        weights[k][2 * rows] = vreinterpretq_s8_u32(vzip1q_u32(first, second));
                        weights[k][2 * rows + 1] = vreinterpretq_s8_u32(vzip2q_u32(first, second));
                    }
                }
                add_dots(o, at * BLOCK + 16 * half, &weights, &mut dots);
            }
            add_products(&mut product, &dots, scales[b]);
        }
        to_rows(&product)
    }
}

#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
unsafe fn load_u32s(from: *const u8) -> uint32x4_t {
    vreinterpretq_u32_u8(vld1q_u8(from))
}

/// Adds the products of sixteen inputs from `at` on: of each pair of tokens, in its first element.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
unsafe fn add_dots<const P: usize, const T: usize>(o: &Operands<P>, at: usize, weights: &[[int8x16_t; 4]; 2], dots: &mut [Pair; T]) {
    for t in (0..T).step_by(2) {
        let (first, second) = (load_u32s(o.quants(t, at).cast()), load_u32s(o.quants(t + 1, at).cast()));
        let x = [vreinterpretq_s8_u32(vuzp1q_u32(first, second)), vreinterpretq_s8_u32(vuzp2q_u32(first, second))];
        for k in 0..2 {
            for rows in 0..4 {
                dots[t][rows] = smmla(dots[t][rows], x[k], weights[k][rows]);
            }
        }
    }
}

/// `product += dots * scales` for every pair of tokens.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
unsafe fn add_products<const T: usize>(product: &mut [Pair; T], dots: &[Pair; T], scales: Ints) {
    for rows in 0..4 {
        let two = vreinterpretq_s64_s32(scales[rows / 2]);
        let scales = vreinterpretq_s32_s64(if rows % 2 == 0 { vzip1q_s64(two, two) } else { vzip2q_s64(two, two) });
        for t in (0..T).step_by(2) {
            product[t][rows] = vmlaq_s32(product[t][rows], dots[t][rows], scales);
        }
    }
}

/// Pairs of tokens as tokens.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `q4`")]
unsafe fn to_rows<const T: usize>(pairs: &[Pair; T]) -> [Ints; T] {
    let mut tokens = [[vdupq_n_s32(0); 2]; T];
    for t in (0..T).step_by(2) {
        for half in 0..2 {
            let (first, second) = (vreinterpretq_s64_s32(pairs[t][2 * half]), vreinterpretq_s64_s32(pairs[t][2 * half + 1]));
            tokens[t][half] = vreinterpretq_s32_s64(vzip1q_s64(first, second));
            tokens[t + 1][half] = vreinterpretq_s32_s64(vzip2q_s64(first, second));
        }
    }
    tokens
}
