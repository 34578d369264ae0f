//! q4 weights times int8 activations.
//!
//! A register tile is `P` tiles of weights times `T` tokens. Per 32-byte load of a tile: one `and`, one shift and
//! `and` give 8 rows × 4 inputs twice; per token, two broadcasts of four activations, which the `P` tiles share, two
//! `vpmaddubsw` and two 16-bit adds. A block's eight pairs fit 16 bits, so that one `vpmaddwd` with the block's
//! scales moves the sum to 32 bits. See [`kinglet_quant::q4`] for the bounds.

use super::{SPREAD, load, to_lanes};
use crate::kernels::product::{Operands, Product};
use core::arch::x86_64::*;
use kinglet_quant::{DType, LANES, UNIT, q4};

/// See [`Product`].
pub(super) struct Q4;

impl Product for Q4 {
    const DTYPE: DType = DType::Q4;
    const HEAD_BYTES: usize = q4::HEAD_BYTES;
    const UNIT_BYTES: usize = q4::UNIT_BYTES;
    const TILES: usize = 1;
    // Six 16-bit sums, and as many of 32 bits that come and go once a block, leave room for weights, activations and
    // products.
    const REGISTERS: usize = 1;
    const TOKENS: usize = 6;
    type Floats = __m256;

    #[inline(always)]
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[__m256; T]; P] {
        // SAFETY: the caller's duty.
        unsafe { outputs(o) }
    }

    #[inline(always)]
    unsafe fn lanes(floats: __m256) -> [[f32; LANES]; 2] {
        // SAFETY: the caller's duty.
        [unsafe { to_lanes(floats) }, [0.0; LANES]]
    }
}

/// See [`Product::outputs`].
#[inline(never)] // one body per shape, where the compiler has all registers for it
#[target_feature(enable = "avx2")]
#[expect(unsafe_op_in_unsafe_fn, reason = "pointers throughout, under the one duty of the caller")]
unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[__m256; T]; P] {
    let spread = [load(&SPREAD[0]), load(&SPREAD[1])];
    let mut products = [[_mm256_setzero_ps(); T]; P];
    let mut minima = [[_mm256_setzero_ps(); T]; P];
    for group in 0..o.groups() {
        let mut product = [[_mm256_setzero_si256(); T]; P];
        let mut minimum = [[_mm256_setzero_si256(); T]; P];
        for u in o.units(group) {
            o.prefetch::<Q4>(u);
            for block in 0..2 {
                let mut pairs = [[_mm256_setzero_si256(); T]; P];
                for load in 0..4 {
                    add_load(o, u, 4 * block + load, &mut pairs);
                }
                for p in 0..P {
                    let both = _mm_loadu_si128(o.unit::<Q4>(p, u).add(q4::SCALES_AT).cast());
                    let scales = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(both), spread[block]);
                    for t in 0..T {
                        product[p][t] = _mm256_add_epi32(product[p][t], _mm256_madd_epi16(pairs[p][t], scales));
                    }
                }
            }
            for p in 0..P {
                let mins = _mm256_cvtepu8_epi16(_mm_loadu_si128(o.unit::<Q4>(p, u).add(q4::MINS_AT).cast()));
                for t in 0..T {
                    let pair = _mm256_set1_epi32(o.sums(t, u).cast::<i32>().read_unaligned());
                    minimum[p][t] = _mm256_add_epi32(minimum[p][t], _mm256_madd_epi16(mins, pair));
                }
            }
        }
        for t in 0..T {
            let scale = _mm256_set1_ps(o.scale(t, group));
            for p in 0..P {
                products[p][t] = _mm256_add_ps(products[p][t], _mm256_mul_ps(_mm256_cvtepi32_ps(product[p][t]), scale));
                minima[p][t] = _mm256_add_ps(minima[p][t], _mm256_mul_ps(_mm256_cvtepi32_ps(minimum[p][t]), scale));
            }
        }
    }
    core::array::from_fn(|p| {
        let head = o.tiles[p].cast::<f32>();
        let (row_scale, row_min) = (_mm256_loadu_ps(head), _mm256_loadu_ps(head.add(LANES)));
        core::array::from_fn(|t| _mm256_sub_ps(_mm256_mul_ps(row_scale, products[p][t]), _mm256_mul_ps(row_min, minima[p][t])))
    })
}

/// Adds the products of load `l` of unit `u` of each tile with eight activations of each token.
#[inline]
#[target_feature(enable = "avx2")]
#[expect(unsafe_op_in_unsafe_fn, reason = "as in `outputs`")]
unsafe fn add_load<const P: usize, const T: usize>(o: &Operands<P>, u: usize, l: usize, pairs: &mut [[__m256i; T]; P]) {
    let low_nibbles = _mm256_set1_epi8(q4::QUANT_MAX as i8);
    let (mut low, mut high) = ([_mm256_setzero_si256(); P], [_mm256_setzero_si256(); P]);
    for p in 0..P {
        let packed = _mm256_loadu_si256(o.unit::<Q4>(p, u).add(32 * l).cast());
        low[p] = _mm256_and_si256(packed, low_nibbles);
        high[p] = _mm256_and_si256(_mm256_srli_epi16(packed, 4), low_nibbles);
    }
    for t in 0..T {
        let x = o.quants(t, u * UNIT + 8 * l).cast::<i32>();
        let (x_low, x_high) = (_mm256_set1_epi32(x.read_unaligned()), _mm256_set1_epi32(x.add(1).read_unaligned()));
        for p in 0..P {
            pairs[p][t] = _mm256_add_epi16(pairs[p][t], _mm256_maddubs_epi16(low[p], x_low));
            pairs[p][t] = _mm256_add_epi16(pairs[p][t], _mm256_maddubs_epi16(high[p], x_high));
        }
    }
}
