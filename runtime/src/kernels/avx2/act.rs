//! Activations to int8: the law of [`kinglet_quant::act`], a block of 32 at a time.
//!
//! The law's minimum and maximum are those of these instructions, operand for operand, and its rounding is that of a
//! conversion under the default rounding mode.

use crate::kernels::{check_heads, check_quantise};
use crate::tensor::ActsMut;
use core::arch::x86_64::*;
use kinglet_quant::{BLOCK, act};

const QUANT_MAX: f32 = act::QUANT_MAX as f32;

/// Entry `quantise`.
#[target_feature(enable = "avx2")]
pub(super) fn quantise(x: &[f32], out: &mut ActsMut<'_>) {
    check_quantise(x, out);
    for (x, (quants, scales, sums)) in x.chunks_exact(out.cols().max(1)).zip(out.rows()) {
        // All peaks first: a division waits for a peak, and the work of other groups fills the wait.
        for (x, scale) in x.chunks(act::GROUP).zip(&mut *scales) {
            *scale = peak(x);
        }
        let groups = x.chunks(act::GROUP).zip(quants.chunks_mut(act::GROUP)).zip(sums.chunks_mut(act::GROUP / BLOCK));
        for (((x, quants), sums), scale) in groups.zip(scales) {
            *scale = group(x, *scale, quants, sums);
        }
    }
}

/// Entry `quantise_heads`.
#[target_feature(enable = "avx2")]
pub(super) fn quantise_heads(x: &[f32], scales: &mut [f32], quants: &mut [i8]) {
    let head_dim = check_heads(x, scales, quants);
    for ((x, quants), scale) in x.chunks_exact(head_dim).zip(quants.chunks_exact_mut(head_dim)).zip(scales) {
        *scale = group(x, peak(x), quants, &mut []);
    }
}

/// The largest magnitude of a group, NaN being passed over.
#[inline]
#[target_feature(enable = "avx2")]
fn peak(x: &[f32]) -> f32 {
    let sign = _mm256_set1_ps(-0.0);
    let mut peaks = [_mm256_setzero_ps(); 4];
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    for x in blocks.iter().chain(&padded(tail)) {
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

/// What is left of a group after its whole blocks, as one more block; none if nothing is.
fn padded(tail: &[f32]) -> Option<[f32; BLOCK]> {
    (!tail.is_empty()).then(|| {
        let mut block = [0.0; BLOCK];
        block[..tail.len()].copy_from_slice(tail);
        block
    })
}

/// Quantises one group and returns its scale. Quants and sums beyond the inputs are 0; `sums` may have room for none.
#[inline]
#[target_feature(enable = "avx2")]
fn group(x: &[f32], peak: f32, quants: &mut [i8], sums: &mut [i16]) -> f32 {
    if peak < act::TINY {
        quants.fill(0);
        sums.fill(0);
        return 0.0;
    }
    let factor = _mm256_set1_ps(QUANT_MAX / peak);
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    let (whole, rest) = quants.split_at_mut(blocks.len() * BLOCK);
    let mut sums = sums.iter_mut();
    for (x, quants) in blocks.iter().zip(whole.as_chunks_mut().0) {
        let sum = block(x, factor, quants);
        if let Some(place) = sums.next() {
            *place = sum;
        }
    }
    if let Some(x) = padded(tail) {
        let mut quants = [0; BLOCK];
        let sum = block(&x, factor, &mut quants);
        let len = rest.len().min(BLOCK);
        rest[..len].copy_from_slice(&quants[..len]);
        if let Some(place) = sums.next() {
            *place = sum;
        }
    }
    rest[tail.len()..].fill(0);
    sums.for_each(|place| *place = 0);
    peak / QUANT_MAX
}

/// The four registers of a block.
#[inline]
#[target_feature(enable = "avx2")]
fn load(x: &[f32; BLOCK]) -> [__m256; 4] {
    let x = x.as_ptr();
    // SAFETY: a block is the four times 8 floats that are read; the instruction takes any address.
    unsafe { [_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(8)), _mm256_loadu_ps(x.add(16)), _mm256_loadu_ps(x.add(24))] }
}

/// Quantises a block and returns its sum.
#[inline]
#[target_feature(enable = "avx2")]
fn block(x: &[f32; BLOCK], factor: __m256, quants: &mut [i8; BLOCK]) -> i16 {
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
