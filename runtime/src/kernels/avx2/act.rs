//! Activations to int8: the law of [`kinglet_quant::act`], a block of 32 at a time.
//!
//! The law's minimum and maximum are those of these instructions, operand for operand, and its rounding is that of a
//! conversion under the default rounding mode.

use crate::kernels::lanes;
use crate::kernels::quantise::{QUANT_MAX, Quants};
use core::arch::x86_64::*;
use kinglet_quant::BLOCK;

/// See [`Quants`]. Only entries of tables with AVX2 may name it.
pub(super) struct Avx2Quants;

impl Quants for Avx2Quants {
    #[inline(always)]
    fn peak(x: &[f32]) -> f32 {
        // SAFETY: this type is named only by entries of tables with AVX2, which run with the features.
        unsafe { peak(x) }
    }

    #[inline(always)]
    fn block(x: &[f32; BLOCK], factor: f32, quants: &mut [i8; BLOCK]) -> i16 {
        // SAFETY: as in `peak`.
        unsafe { block(x, factor, quants) }
    }
}

/// See [`Quants::peak`].
#[inline]
#[target_feature(enable = "avx2")]
fn peak(x: &[f32]) -> f32 {
    let sign = _mm256_set1_ps(-0.0);
    let mut peaks = [_mm256_setzero_ps(); 4];
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    for x in blocks.iter().chain(&lanes::padded(tail)) {
        let x = load(x);
        for i in 0..4 {
            peaks[i] = _mm256_max_ps(_mm256_andnot_ps(sign, x[i]), peaks[i]);
        }
    }
    let v = _mm256_max_ps(_mm256_max_ps(peaks[0], peaks[1]), _mm256_max_ps(peaks[2], peaks[3]));
    let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_max_ss(v, _mm_shuffle_ps::<0b_00_00_00_01>(v, v)))
}

/// The four registers of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn load(x: &[f32; BLOCK]) -> [__m256; 4] {
    let x = x.as_ptr();
    // SAFETY: a block is the four times 8 floats that are read; the instruction takes any address.
    unsafe { [_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(8)), _mm256_loadu_ps(x.add(16)), _mm256_loadu_ps(x.add(24))] }
}

/// See [`Quants::block`].
#[inline]
#[target_feature(enable = "avx2")]
fn block(x: &[f32; BLOCK], factor: f32, quants: &mut [i8; BLOCK]) -> i16 {
    let factor = _mm256_set1_ps(factor);
    let (least, most) = (_mm256_set1_ps(-QUANT_MAX), _mm256_set1_ps(QUANT_MAX));
    let quant = |v| _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(v, factor), least), most));
    let [a, b, c, d] = load(x);
    let (a, b, c, d) = (quant(a), quant(b), quant(c), quant(d));
    // Packing goes on within the halves of registers: four numbers of each of the four alternate.
    let packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let in_order = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    // SAFETY: the array has the 32 bytes that are written; the instruction takes any address.
    unsafe { _mm256_storeu_si256(quants.as_mut_ptr().cast(), in_order) };
    let v = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
    let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b_00_00_11_10>(v));
    let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b_00_00_00_01>(v));
    _mm_cvtsi128_si32(v) as i16
}
