//! q8 weights times int8 activations.
//!
//! `vpmaddubsw` wants one unsigned side: the weight's size, taken once per load, times the activation with the
//! weight's sign, taken per token by `vpsignb`. A pair fits 16 bits and two do not, so that each goes to 32 bits at
//! once, by the `vpmaddwd` with the block's scales. See [`kinglet_quant::q8`] for the bounds.

use super::{SPREAD, load, to_lanes};
use crate::kernels::product::{Operands, Product};
use core::arch::x86_64::*;
use kinglet_quant::{DType, LANES, UNIT, q8};

/// See [`Product`].
pub(super) struct Q8;

impl Product for Q8 {
    const DTYPE: DType = DType::Q8;
    const HEAD_BYTES: usize = q8::HEAD_BYTES;
    const UNIT_BYTES: usize = q8::UNIT_BYTES;
    const TILES: usize = 1;
    // Six sums leave room for weights, their sizes and scales, and products.
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
    for group in 0..o.groups() {
        let mut product = [[_mm256_setzero_si256(); T]; P];
        for u in o.units(group) {
            o.prefetch::<Q8>(u);
            for block in 0..2 {
                let mut scales = [_mm256_setzero_si256(); P];
                for p in 0..P {
                    let both = _mm_loadu_si128(o.unit::<Q8>(p, u).add(q8::SCALES_AT).cast());
                    scales[p] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(both), spread[block]);
                }
                for l in 8 * block..8 * block + 8 {
                    let (mut signed, mut size) = ([_mm256_setzero_si256(); P], [_mm256_setzero_si256(); P]);
                    for p in 0..P {
                        signed[p] = _mm256_loadu_si256(o.unit::<Q8>(p, u).add(32 * l).cast());
                        size[p] = _mm256_abs_epi8(signed[p]);
                    }
                    for t in 0..T {
                        let x = _mm256_set1_epi32(o.quants(t, u * UNIT + 4 * l).cast::<i32>().read_unaligned());
                        for p in 0..P {
                            let pairs = _mm256_maddubs_epi16(size[p], _mm256_sign_epi8(x, signed[p]));
                            product[p][t] = _mm256_add_epi32(product[p][t], _mm256_madd_epi16(pairs, scales[p]));
                        }
                    }
                }
            }
        }
        for t in 0..T {
            let scale = _mm256_set1_ps(o.scale(t, group));
            for p in 0..P {
                products[p][t] = _mm256_add_ps(products[p][t], _mm256_mul_ps(_mm256_cvtepi32_ps(product[p][t]), scale));
            }
        }
    }
    core::array::from_fn(|p| {
        let row_scale = _mm256_loadu_ps(o.tiles[p].cast());
        core::array::from_fn(|t| _mm256_mul_ps(row_scale, products[p][t]))
    })
}
