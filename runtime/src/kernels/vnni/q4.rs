//! q4 weights times int8 activations.
//!
//! The weights of a block are unpacked once for all tokens; a token's block is eight `vpdpbusd`, one product with the
//! block's scales and one addition. Minima take one `vpdpwssd` for two blocks. See [`kinglet_quant::q4`] for the bounds.

use super::{Vector, add_scaled};
use crate::kernels::product::{Operands, Product};
use core::marker::PhantomData;
use kinglet_quant::{BLOCK, DType, LANES, UNIT, q4};

/// See [`Product`].
pub(super) struct Q4<V>(PhantomData<V>);

impl<V: Vector> Product for Q4<V> {
    const DTYPE: DType = DType::Q4;
    const HEAD_BYTES: usize = q4::HEAD_BYTES;
    const UNIT_BYTES: usize = q4::UNIT_BYTES;
    const TILES: usize = V::TILES;
    const REGISTERS: usize = 2;
    const TOKENS: usize = V::TOKENS;
    type Floats = V::Floats;

    #[inline(always)]
    #[expect(unsafe_op_in_unsafe_fn, reason = "pointers and instructions throughout, under the one duty of the caller")]
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[V::Floats; T]; P] {
        let mut products = [[V::zero_floats(); T]; P];
        let mut minima = [[V::zero_floats(); T]; P];
        if T == 1 {
            // Every byte of the weights is read once, in one pass.
            for group in 0..o.groups() {
                add_scaled::<V, P, T>(o, group, &product(o, group), &mut products);
                add_scaled::<V, P, T>(o, group, &minimum(o, group), &mut minima);
            }
        } else {
            // In two passes, because both at once would want more registers than there are.
            for group in 0..o.groups() {
                add_scaled::<V, P, T>(o, group, &minimum(o, group), &mut minima);
            }
            for group in 0..o.groups() {
                add_scaled::<V, P, T>(o, group, &product(o, group), &mut products);
            }
        }
        core::array::from_fn(|p| {
            let row_scale = V::load_floats(o.tiles[p], o.strides[p]);
            let row_min = V::load_floats(o.tiles[p].add(4 * LANES), o.strides[p]);
            core::array::from_fn(|t| V::sub(V::mul(row_scale, products[p][t]), V::mul(row_min, minima[p][t])))
        })
    }

    #[inline(always)]
    unsafe fn lanes(floats: V::Floats) -> [[f32; LANES]; 2] {
        // SAFETY: the caller's duty.
        unsafe { V::to_tiles(floats) }
    }
}

/// `Σ m_b * sum_b` over the blocks of a group.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `outputs`")]
unsafe fn minimum<V: Vector, const P: usize, const T: usize>(o: &Operands<P>, group: usize) -> [[V; T]; P] {
    let mut minimum = [[V::zero(); T]; P];
    for u in o.units(group) {
        for p in 0..P {
            let mins = V::load_u8_pairs(o.unit::<Q4<V>>(p, u).add(q4::MINS_AT), o.strides[p]);
            for t in 0..T {
                minimum[p][t] = minimum[p][t].add_dot2(mins, o.sums(t, u));
            }
        }
    }
    minimum
}

/// `Σ s_b Σ q x` over the blocks of a group.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `outputs`")]
unsafe fn product<V: Vector, const P: usize, const T: usize>(o: &Operands<P>, group: usize) -> [[V; T]; P] {
    let mut product = [[V::zero(); T]; P];
    for u in o.units(group) {
        o.prefetch::<Q4<V>>(u);
        for block in 0..UNIT / BLOCK {
            let mut dots = [[V::zero(); T]; P];
            for load in 0..BLOCK / 8 {
                let at = LANES * 4 * (BLOCK / 8 * block + load);
                let packed: [V; P] = core::array::from_fn(|p| V::load(o.unit::<Q4<V>>(p, u).add(at), o.strides[p]));
                let (low, high) = (packed.map(|v| v.low_nibbles()), packed.map(|v| v.high_nibbles()));
                for t in 0..T {
                    let x = o.quants(t, u * UNIT + block * BLOCK + 8 * load);
                    for p in 0..P {
                        dots[p][t] = dots[p][t].add_dot4(low[p], x);
                    }
                    for p in 0..P {
                        dots[p][t] = dots[p][t].add_dot4(high[p], x.add(4));
                    }
                }
            }
            for p in 0..P {
                let scales = V::load_u8(o.unit::<Q4<V>>(p, u).add(q4::SCALES_AT + LANES * block), o.strides[p]);
                for t in 0..T {
                    product[p][t] = product[p][t].add_product(dots[p][t], scales);
                }
            }
        }
    }
    product
}
