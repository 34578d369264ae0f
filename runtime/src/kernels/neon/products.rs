//! Quantised products: the parts that all instruction sets of AArch64 share.
//!
//! A [`Level`] gives the exact integer sums of a group of activations; the floats are here.

use crate::kernels::product::{Operands, Product};
use core::arch::aarch64::*;
use core::marker::PhantomData;
use kinglet_quant::{BLOCK, DType, LANES, UNIT, act, q4, q8};

/// The eight rows of a tile as 32-bit integers.
pub(super) type Ints = [int32x4_t; 2];

/// The eight rows of a tile as floats.
pub(super) type Floats = [float32x4_t; 2];

/// What an instruction set supplies.
///
/// # Safety
/// Both functions may be called only where the instructions are, for operands that are whole and a group that is there.
pub(super) trait Level {
    /// Tokens in a register tile of a batch, for q4 and for q8.
    const TOKENS: [usize; 2];

    /// `Σ s_b Σ q x` over the blocks of a group, for tile `p` and `T` tokens of q4 weights.
    unsafe fn q4<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T];

    /// The same of q8 weights.
    unsafe fn q8<const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T];
}

/// q4 weights; see [`Product`].
pub(super) struct Q4<L>(PhantomData<L>);

impl<L: Level> Product for Q4<L> {
    const DTYPE: DType = DType::Q4;
    const HEAD_BYTES: usize = q4::HEAD_BYTES;
    const UNIT_BYTES: usize = q4::UNIT_BYTES;
    const TILES: usize = 1;
    const REGISTERS: usize = 1;
    const TOKENS: usize = L::TOKENS[0];
    type Floats = Floats;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
        let mut products = [[[vdupq_n_f32(0.0); 2]; T]; P];
        let mut minima = products;
        for group in 0..o.groups() {
            o.units(group).for_each(|u| o.prefetch::<Self>(u));
            for p in 0..P {
                add_scaled(o, group, L::q4::<P, T>(o, p, group), &mut products[p]);
                add_scaled(o, group, minimum::<Self, P, T>(o, p, group), &mut minima[p]);
            }
        }
        for p in 0..P {
            for half in 0..2 {
                let head = o.tiles[p].cast::<f32>().add(4 * half);
                let (row_scale, row_min) = (vld1q_f32(head), vld1q_f32(head.add(LANES)));
                for t in 0..T {
                    let product = vmulq_f32(row_scale, products[p][t][half]);
                    products[p][t][half] = vsubq_f32(product, vmulq_f32(row_min, minima[p][t][half]));
                }
            }
        }
        products
    }

    #[inline(always)]
    unsafe fn lanes(floats: Floats) -> [[f32; LANES]; 2] {
        // SAFETY: the caller's duty.
        unsafe { to_tiles(floats) }
    }
}

/// q8 weights; see [`Product`].
pub(super) struct Q8<L>(PhantomData<L>);

impl<L: Level> Product for Q8<L> {
    const DTYPE: DType = DType::Q8;
    const HEAD_BYTES: usize = q8::HEAD_BYTES;
    const UNIT_BYTES: usize = q8::UNIT_BYTES;
    const TILES: usize = 1;
    const REGISTERS: usize = 1;
    const TOKENS: usize = L::TOKENS[1];
    type Floats = Floats;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
        let mut products = [[[vdupq_n_f32(0.0); 2]; T]; P];
        for group in 0..o.groups() {
            o.units(group).for_each(|u| o.prefetch::<Self>(u));
            for p in 0..P {
                add_scaled(o, group, L::q8::<P, T>(o, p, group), &mut products[p]);
            }
        }
        for p in 0..P {
            for half in 0..2 {
                let row_scale = vld1q_f32(o.tiles[p].cast::<f32>().add(4 * half));
                for t in 0..T {
                    products[p][t][half] = vmulq_f32(row_scale, products[p][t][half]);
                }
            }
        }
        products
    }

    #[inline(always)]
    unsafe fn lanes(floats: Floats) -> [[f32; LANES]; 2] {
        // SAFETY: the caller's duty.
        unsafe { to_tiles(floats) }
    }
}

/// The lanes in memory order.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn to_tiles(floats: Floats) -> [[f32; LANES]; 2] {
    let mut lanes = [[0.0; LANES]; 2];
    vst1q_f32(lanes[0].as_mut_ptr(), floats[0]);
    vst1q_f32(lanes[0].as_mut_ptr().add(4), floats[1]);
    lanes
}

/// `sums += f32(group) * scale`, the scale being that of the group and token; rounded after each operation.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn add_scaled<const P: usize, const T: usize>(o: &Operands<P>, group: usize, ints: [Ints; T], sums: &mut [Floats; T]) {
    for t in 0..T {
        let scale = o.scale(t, group);
        for half in 0..2 {
            sums[t][half] = vaddq_f32(sums[t][half], vmulq_n_f32(vcvtq_f32_s32(ints[t][half]), scale));
        }
    }
}

/// `Σ m_b * sum_b` over the blocks of a group of q4 weights.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn minimum<Q: Product, const P: usize, const T: usize>(o: &Operands<P>, p: usize, group: usize) -> [Ints; T] {
    let mut minima = [[vdupq_n_s32(0); 2]; T];
    for u in o.units(group) {
        // Rows stand side by side, with two blocks each: the bytes of a 16-bit lane.
        let mins = vld1q_u16(o.unit::<Q>(p, u).add(q4::MINS_AT).cast());
        let first = vreinterpretq_s16_u16(vandq_u16(mins, vdupq_n_u16(0xff)));
        let second = vreinterpretq_s16_u16(vshrq_n_u16::<8>(mins));
        for t in 0..T {
            let sums = vreinterpret_s16_s32(vdup_n_s32(o.sums(t, u).cast::<i32>().read_unaligned()));
            minima[t][0] = vmlal_lane_s16::<0>(minima[t][0], vget_low_s16(first), sums);
            minima[t][1] = vmlal_high_lane_s16::<0>(minima[t][1], first, sums);
            minima[t][0] = vmlal_lane_s16::<1>(minima[t][0], vget_low_s16(second), sums);
            minima[t][1] = vmlal_high_lane_s16::<1>(minima[t][1], second, sums);
        }
    }
    minima
}

/// Blocks of a whole group.
pub(super) const BLOCKS: usize = act::GROUP / BLOCK;

/// The sixteen scales at `scales`, of two blocks, as 16-bit numbers.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
pub(super) unsafe fn load_scales(scales: *const u8) -> [int16x8_t; UNIT / BLOCK] {
    let both = vld1q_u8(scales);
    [vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(both))), vreinterpretq_s16_u16(vmovl_high_u8(both))]
}

/// As 32-bit numbers.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
pub(super) unsafe fn widen(v: int16x8_t) -> Ints {
    [vmovl_s16(vget_low_s16(v)), vmovl_high_s16(v)]
}

/// For each block of a group its scales less those of the next, which are 0 after the last.
///
/// With these, sums of dots run on through a group and need not be cleared for each block: where `D_b` is the sum up to and
/// with block `b`, `Σ s_b (D_b - D_{b-1}) = Σ (s_b - s_{b+1}) D_b`. This is exact, for all of it is arithmetic modulo 2^32,
/// and the left side fits.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
pub(super) unsafe fn differences<Q: Product, const P: usize>(o: &Operands<P>, p: usize, group: usize, scales_at: usize) -> [Ints; BLOCKS] {
    let zero = vdupq_n_s16(0);
    let mut scales = [zero; BLOCKS + 1];
    for (i, u) in o.units(group).enumerate() {
        let two = load_scales(o.unit::<Q>(p, u).add(scales_at));
        (scales[2 * i], scales[2 * i + 1]) = (two[0], two[1]);
    }
    let mut differences = [[vdupq_n_s32(0); 2]; BLOCKS];
    for b in 0..BLOCKS {
        differences[b] = widen(vsubq_s16(scales[b], scales[b + 1]));
    }
    differences
}
