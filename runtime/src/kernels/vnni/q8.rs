//! q8 weights times int8 activations.
//!
//! `vpdpbusd` wants one unsigned side: weights plus 128. What that adds, 128 times the sum of the block's activations, is
//! taken off at the end of a group: with the block's scale it is one `vpdpwssd` for two blocks.
//!
//! Sums stay in 32 bits for groups of 256 inputs too: a block is at most `32 * 255 * 127 * 255 = 264,261,600` in size, eight of
//! them 2,114,092,800 < 2^31. See [`kinglet_quant::q8`] for the bounds of what they stand for.

use super::{Vector, add_scaled};
use crate::kernels::product::{Operands, Product};
use core::marker::PhantomData;
use kinglet_quant::{BLOCK, DType, LANES, q8};

/// See [`Product`].
pub(super) struct Q8<V>(PhantomData<V>);

impl<V: Vector> Product for Q8<V> {
    const DTYPE: DType = DType::Q8;
    const HEAD_BYTES: usize = q8::HEAD_BYTES;
    const UNIT_BYTES: usize = q8::UNIT_BYTES;
    const TILES: usize = V::TILES;
    const REGISTERS: usize = 2;
    const TOKENS: usize = V::TOKENS;
    type Floats = V::Floats;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[V::Floats; T]; P] {
        let mut products = [[V::zero_floats(); T]; P];
        for group in 0..o.groups() {
            let mut product = [[V::zero(); T]; P];
            // Block by block and not unit by unit: a loop of two would be unrolled, and both blocks' sums at once spill.
            for b in o.blocks(group) {
                let (u, block) = (b / 2, b % 2);
                if block == 0 {
                    o.prefetch::<Self>(u);
                }
                let mut dots = [[V::zero(); T]; P];
                for load in 0..BLOCK / 4 {
                    let at = LANES * 4 * (BLOCK / 4 * block + load);
                    let signed: [V; P] = core::array::from_fn(|p| V::load(o.unit::<Self>(p, u).add(at), o.strides[p]));
                    let weights = signed.map(|v| v.plus_128());
                    for t in 0..T {
                        let x = o.quants(t, b * BLOCK + 4 * load);
                        for p in 0..P {
                            dots[p][t] = dots[p][t].add_dot4(weights[p], x);
                        }
                    }
                }
                for p in 0..P {
                    let scales = V::load_u8(o.unit::<Self>(p, u).add(q8::SCALES_AT + LANES * block), o.strides[p]);
                    for t in 0..T {
                        product[p][t] = product[p][t].add_product(dots[p][t], scales);
                    }
                }
            }
            // What the 128s add, over 128. After the weights, so that these are read in their order.
            let mut excess = [[V::zero(); T]; P];
            for u in o.units(group) {
                for p in 0..P {
                    let scales = V::interleave_u8(o.unit::<Self>(p, u).add(q8::SCALES_AT), o.strides[p]);
                    for t in 0..T {
                        excess[p][t] = excess[p][t].add_dot2(scales, o.sums(t, u));
                    }
                }
            }
            for p in 0..P {
                for t in 0..T {
                    product[p][t] = product[p][t].minus(excess[p][t].shift_left::<7>());
                }
            }
            add_scaled(o, group, &product, &mut products);
        }

        core::array::from_fn(|p| {
            let row_scale = V::load_floats(o.tiles[p], o.strides[p]);
            core::array::from_fn(|t| V::mul(row_scale, products[p][t]))
        })
    }

    #[inline(always)]
    unsafe fn lanes(floats: V::Floats) -> [[f32; LANES]; 2] {
        // SAFETY: the caller's duty.
        unsafe { V::to_tiles(floats) }
    }
}
