//! Quantised products: what all instruction sets of AArch64 share.
//!
//! The weights of a block, 32 inputs of the eight rows of a tile, are sixteen registers of bytes. They stay while tokens
//! stream past, so that a register tile may have many tokens: only a token or two, and not their sums, are in registers.
//! A [`Level`] supplies the exact integer sums; the floats are here. A level may do otherwise where it has registers for
//! the sums ([`Level::products`]).

pub(super) mod sdot;
pub(super) mod smmla;
pub(super) mod smull;

use super::asm::opaque;
use crate::kernels::product::{Operands, Product};
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::ops::Range;
use kinglet_quant::{BLOCK, DType, LANES, UNIT, act, q4, q8};

/// The eight rows of a tile as 32-bit integers.
pub(super) type Ints = [int32x4_t; 2];

/// The eight rows of a tile as floats.
pub(super) type Floats = [float32x4_t; 2];

/// The weights of a block: inputs `4i..4i + 4` of rows `0..4` and of rows `4..8`, four bytes a row. A [`Level`] may arrange
/// them otherwise.
pub(super) type Weights = [[int8x16_t; 2]; BLOCK / 4];

/// The sums of a token and a group. A [`Level`] may use those of two tokens otherwise.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Sums {
    /// `Σ q x` of the blocks so far, where they run on through the group.
    pub(super) dots: Ints,
    /// Dots times scales.
    pub(super) product: Ints,
}

impl Sums {
    /// The sums of nothing.
    // SAFETY: any bits are integers.
    pub(super) const ZERO: Self = unsafe { core::mem::zeroed() };
}

/// What an instruction set supplies.
///
/// # Safety
/// All of this may be called only where the instructions are, with operands that are whole and have inputs, and activations that
/// are there: 32 at `x` and as many at each of the next `T - 1` distances of `stride`.
pub(super) trait Level: Sized {
    /// Tokens in a register tile of a batch: 8 or 16.
    const TOKENS: usize;

    /// Whether `dots` of `add` run on through a group, so that they need not be cleared for each block. Scales are then those of
    /// the block less those of the next: where `D_b` is the sum up to and with block `b`, and the last one's next scale is
    /// 0, `Σ s_b (D_b - D_{b-1}) = Σ (s_b - s_{b+1}) D_b`. That is exact, as all of it is arithmetic modulo 2^32 and the left
    /// side fits.
    const RUNS_ON: bool;

    /// The weights in the level's arrangement.
    #[inline(always)]
    unsafe fn arrange<const T: usize>(weights: Weights) -> Weights {
        weights
    }

    /// Adds a block's dots, and their products with `scales`, of q4 or q8 weights.
    unsafe fn add<Q: Blocks, const T: usize>(weights: &Weights, x: *const i8, stride: usize, scales: Ints, sums: &mut [Sums; T]);

    /// Puts `product` of every token back into the order of the rows.
    #[inline(always)]
    unsafe fn restore<const T: usize>(_sums: &mut [Sums; T]) {}

    /// The sums over groups of `f32(Σ s_b Σ q x) * scale`.
    #[inline(always)]
    unsafe fn products<Q: Blocks, const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
        // SAFETY: the caller's duty.
        unsafe { block_by_block::<Self, Q, P, T>(o) }
    }
}

/// q4 weights; see [`Product`].
pub(super) struct Q4<L>(PhantomData<L>);

impl<L: Level> Product for Q4<L> {
    const DTYPE: DType = DType::Q4;
    const HEAD_BYTES: usize = q4::HEAD_BYTES;
    const UNIT_BYTES: usize = q4::UNIT_BYTES;
    const TILES: usize = 1;
    const REGISTERS: usize = 1;
    const TOKENS: usize = L::TOKENS;
    type Floats = Floats;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
        let mut products = [[[vdupq_n_f32(0.0); 2]; T]; P];
        let mut minima = products;
        if T < MINIMA {
            // Weights that wait for the memory are read in one pass.
            for group in 0..o.groups() {
                add_group::<L, Self, P, T>(o, group, &mut products);
                for p in 0..P {
                    add_minima::<Self, P, T>(o, p, 0, group..group + 1, &mut minima[p]);
                }
            }
        } else {
            const { assert!(T < MINIMA || L::TOKENS.is_multiple_of(MINIMA)) };
            products = L::products::<Self, P, T>(o);
            for p in 0..P {
                for (i, minima) in minima[p].as_chunks_mut::<MINIMA>().0.iter_mut().enumerate() {
                    add_minima::<Self, P, MINIMA>(o, p, MINIMA * i, 0..o.groups(), minima);
                }
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
    const TOKENS: usize = L::TOKENS;
    type Floats = Floats;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
        let mut products = L::products::<Self, P, T>(o);
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

/// Weights that come in blocks of 32 inputs, with scales.
pub(super) trait Blocks: Product {
    /// Offset of the scales in a unit; before them are two blocks.
    const SCALES_AT: usize;

    /// The block at `bytes`.
    unsafe fn weights(bytes: *const u8) -> Weights;
}

impl<L: Level> Blocks for Q4<L> {
    const SCALES_AT: usize = q4::SCALES_AT;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `Product`")]
    unsafe fn weights(packed: *const u8) -> Weights {
        let mask = vdupq_n_u8(q4::QUANT_MAX);
        let mut weights = [[vdupq_n_s8(0); 2]; BLOCK / 4];
        for load in 0..BLOCK / 8 {
            for rows in 0..2 {
                let bytes = vld1q_u8(packed.add(4 * LANES * load + 16 * rows));
                weights[2 * load][rows] = vreinterpretq_s8_u8(vandq_u8(bytes, mask));
                weights[2 * load + 1][rows] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes));
            }
        }
        weights
    }
}

impl<L: Level> Blocks for Q8<L> {
    const SCALES_AT: usize = q8::SCALES_AT;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "as in `Product`")]
    unsafe fn weights(bytes: *const u8) -> Weights {
        let mut weights = [[vdupq_n_s8(0); 2]; BLOCK / 4];
        for four in 0..BLOCK / 4 {
            for rows in 0..2 {
                weights[four][rows] = vld1q_s8(bytes.add(4 * LANES * four + 16 * rows).cast());
            }
        }
        weights
    }
}

/// [`Level::products`], a block of all tokens after the other.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
pub(super) unsafe fn block_by_block<L: Level, Q: Blocks, const P: usize, const T: usize>(o: &Operands<P>) -> [[Floats; T]; P] {
    let mut products = [[[vdupq_n_f32(0.0); 2]; T]; P];
    for group in 0..o.groups() {
        add_group::<L, Q, P, T>(o, group, &mut products);
    }
    products
}

/// Adds `f32(Σ s_b Σ q x) * scale` of a group.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn add_group<L: Level, Q: Blocks, const P: usize, const T: usize>(o: &Operands<P>, group: usize, products: &mut [[Floats; T]; P]) {
    let mut sums = [[Sums::ZERO; T]; P];
    for b in o.blocks(group) {
        if b % 2 == 0 {
            o.prefetch::<Q>(b / 2);
        }
        for p in 0..P {
            let scales = scales::<Q, P>(o, p, group, b, L::RUNS_ON);
            let weights = L::arrange::<T>(Q::weights(o.unit::<Q>(p, b / 2).add(Q::SCALES_AT / 2 * (b % 2))));
            L::add::<Q, T>(&weights, o.quants(0, b * BLOCK), o.stride(), scales, &mut sums[p]);
        }
    }
    for p in 0..P {
        L::restore(&mut sums[p]);
        for t in 0..T {
            for half in 0..2 {
                let product = vcvtq_f32_s32(sums[p][t].product[half]);
                products[p][t][half] = add_scaled(products[p][t][half], product, o.scale(t, group));
            }
        }
    }
}

/// The scales of block `b` of a group, less those of the group's next block if dots run on; see [`Level::RUNS_ON`].
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn scales<Q: Blocks, const P: usize>(o: &Operands<P>, p: usize, group: usize, b: usize, less_next: bool) -> Ints {
    let mut scales = block_scales::<Q, P>(o, p, b);
    if less_next && b + 1 < o.blocks(group).end {
        scales = vsubq_u16(scales, block_scales::<Q, P>(o, p, b + 1));
    }
    let scales = vreinterpretq_s16_u16(scales);
    [vmovl_s16(vget_low_s16(scales)), vmovl_high_s16(scales)]
}

/// The scales of block `b`.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn block_scales<Q: Blocks, const P: usize>(o: &Operands<P>, p: usize, b: usize) -> uint16x8_t {
    vmovl_u8(vld1_u8(o.unit::<Q>(p, b / 2).add(Q::SCALES_AT + LANES * (b % 2))))
}

/// `sum + group * scale`, rounded after each operation.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn add_scaled(sum: float32x4_t, group: float32x4_t, scale: f32) -> float32x4_t {
    vaddq_f32(sum, vmulq_n_f32(group, scale))
}

/// The units of a whole group.
const UNITS: usize = act::GROUP / UNIT;
const _: () = assert!(UNITS == 2);

/// So many tokens' minima stay in registers.
const MINIMA: usize = 4;

/// The float whose last bit is worth 1, with room for the sums of minima on both sides.
const MAGIC: f32 = 12_582_912.0;
const _: () = assert!((act::GROUP / BLOCK) * 255 * (BLOCK * act::QUANT_MAX as usize) < 1 << 22);

/// Adds what some groups of q4 weights take off `T` tokens from `first` on.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn add_minima<Q: Product, const P: usize, const T: usize>(
    o: &Operands<P>,
    p: usize,
    first: usize,
    groups: Range<usize>,
    minima: &mut [Floats; T],
) {
    let whole = (o.n_units() / UNITS).min(groups.end);
    for group in groups.start..whole {
        add_minima_of::<Q, P, T, UNITS>(o, p, first, group, minima);
    }
    if whole < groups.end {
        add_minima_of::<Q, P, T, 1>(o, p, first, whole, minima);
    }
}

/// Adds what a group of `N` units of q4 weights takes off `T` tokens from `first` on: `f32(Σ m_b * sum_b) * scale`.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn add_minima_of<Q: Product, const P: usize, const T: usize, const N: usize>(
    o: &Operands<P>,
    p: usize,
    first: usize,
    group: usize,
    minima: &mut [Floats; T],
) {
    // Sums on top of the bits of 1.5 * 2^23 are that number plus the sum: a subtraction makes floats of them, which more pipes
    // have than the conversion. The compiler would rather add the bits at the end.
    let magic = vreinterpretq_f32_s8(opaque(vreinterpretq_s8_f32(vdupq_n_f32(MAGIC))));
    let unit = group * UNITS;
    let mut ints = [[vreinterpretq_s32_f32(magic); 2]; T];
    let mins: [_; N] = core::array::from_fn(|u| mins::<Q, P>(o, p, unit + u));
    let mut sums = [vdup_n_s16(0); T];
    for t in 0..T {
        let at = o.sums(first + t, unit);
        // Those of two units are half a register, those of one half of that.
        sums[t] = if N == UNITS { vld1_s16(at) } else { vreinterpret_s16_s32(vdup_n_s32(at.cast::<i32>().read_unaligned())) };
    }
    add_block::<0, T>(&mut ints, mins[0][0], &sums);
    add_block::<1, T>(&mut ints, mins[0][1], &sums);
    if N == UNITS {
        add_block::<2, T>(&mut ints, mins[N - 1][0], &sums);
        add_block::<3, T>(&mut ints, mins[N - 1][1], &sums);
    }
    for t in 0..T {
        for half in 0..2 {
            let minimum = vsubq_f32(vreinterpretq_f32_s32(ints[t][half]), magic);
            minima[t][half] = add_scaled(minima[t][half], minimum, o.scale(first + t, group));
        }
    }
}

/// The minima of the eight rows for the two blocks of a unit.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn mins<Q: Product, const P: usize>(o: &Operands<P>, p: usize, u: usize) -> [int16x8_t; UNIT / BLOCK] {
    // Rows stand side by side, with two blocks each: the bytes of a 16-bit lane.
    let both = vld1q_u16(o.unit::<Q>(p, u).add(q4::MINS_AT).cast());
    [vreinterpretq_s16_u16(vandq_u16(both, vdupq_n_u16(0xff))), vreinterpretq_s16_u16(vshrq_n_u16::<8>(both))]
}

/// `ints[t] += mins * sums[t][LANE]`.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `Q4`")]
unsafe fn add_block<const LANE: i32, const T: usize>(ints: &mut [Ints; T], mins: int16x8_t, sums: &[int16x4_t; T]) {
    for t in 0..T {
        ints[t][0] = vmlal_lane_s16::<LANE>(ints[t][0], vget_low_s16(mins), sums[t]);
        ints[t][1] = vmlal_high_lane_s16::<LANE>(ints[t][1], mins, sums[t]);
    }
}
