//! Activations to int8, and what is left over: the laws of [`kinglet_quant::act`].
//!
//! Comparisons pass over NaN, as the law does. A product is never a signalling NaN, so that of it and a number the
//! instruction `fmaxnm` takes the number; conversions round ties to even, and narrowing saturates.

use crate::kernels::{check_heads, check_quantise, token};
use crate::tensor::{Acts, ActsMut};
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, act};

const QUANT_MAX: f32 = act::QUANT_MAX as f32;

/// Floats of a register.
const FOUR: usize = 4;
/// Registers of a block.
const REGISTERS: usize = BLOCK / FOUR;

/// Entry `quantise`.
#[target_feature(enable = "neon")]
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
#[target_feature(enable = "neon")]
pub(super) fn quantise_heads(x: &[f32], scales: &mut [f32], quants: &mut [i8]) {
    let head_dim = check_heads(x, scales, quants);
    for ((x, quants), scale) in x.chunks_exact(head_dim).zip(quants.chunks_exact_mut(head_dim)).zip(scales) {
        *scale = group(x, peak(x), quants, &mut []);
    }
}

/// Entry `subtract`.
#[target_feature(enable = "neon")]
pub(super) fn subtract(acts: &Acts<'_>, x: &mut [f32]) {
    let cols = acts.cols();
    assert!(cols.checked_mul(acts.tokens()) == Some(x.len()));
    for (t, x) in x.chunks_exact_mut(cols.max(1)).enumerate() {
        let (quants, scales, _) = token(acts, t);
        for ((x, quants), scale) in x.chunks_mut(act::GROUP).zip(quants.chunks(act::GROUP)).zip(scales) {
            let (chunks, tail) = x.as_chunks_mut::<16>();
            // Quants are padded, and so may make more chunks.
            let quant_tail = &quants[16 * chunks.len()..];
            for (x, quants) in chunks.iter_mut().zip(quants.as_chunks::<16>().0) {
                // SAFETY: the array has the 16 bytes that are read.
                let quants = unsafe { vld1q_s8(quants.as_ptr()) };
                let (low, high) = (vmovl_s8(vget_low_s8(quants)), vmovl_high_s8(quants));
                let fours = [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)];
                for (x, four) in x.as_chunks_mut::<FOUR>().0.iter_mut().zip(fours) {
                    let product = vmulq_n_f32(vcvtq_f32_s32(four), *scale);
                    // SAFETY: the array has the four floats that are read and written.
                    unsafe { vst1q_f32(x.as_mut_ptr(), vsubq_f32(vld1q_f32(x.as_ptr()), product)) };
                }
            }
            for (x, quant) in tail.iter_mut().zip(quant_tail) {
                *x -= scale * f32::from(*quant);
            }
        }
    }
}

/// The largest magnitude of a group, NaN being passed over.
#[inline]
#[target_feature(enable = "neon")]
fn peak(x: &[f32]) -> f32 {
    // What has the largest magnitude so far, whatever its sign.
    let mut peaks = [vdupq_n_f32(0.0); REGISTERS / 2];
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    for x in blocks {
        raise(&mut peaks, x);
    }
    if !tail.is_empty() {
        raise(&mut peaks, &padded(tail));
    }
    for stride in [2, 1] {
        for i in 0..stride {
            peaks[i] = larger(peaks[i + stride], peaks[i]);
        }
    }
    // None of them is NaN, and without signs any order gives the same bits.
    vmaxvq_f32(vabsq_f32(peaks[0]))
}

/// Takes a block into the peaks.
#[inline]
#[target_feature(enable = "neon")]
fn raise(peaks: &mut [float32x4_t; REGISTERS / 2], x: &[f32; BLOCK]) {
    let x = load(x);
    for i in 0..REGISTERS {
        peaks[i % (REGISTERS / 2)] = larger(x[i], peaks[i % (REGISTERS / 2)]);
    }
}

/// `v` where its magnitude is larger than that of `m`, else `m`.
#[inline]
#[target_feature(enable = "neon")]
fn larger(v: float32x4_t, m: float32x4_t) -> float32x4_t {
    vbslq_f32(vcagtq_f32(v, m), v, m)
}

/// What is left of a group after its whole blocks, as one more block.
#[inline]
fn padded(tail: &[f32]) -> [f32; BLOCK] {
    let mut block = [0.0; BLOCK];
    block[..tail.len()].copy_from_slice(tail);
    block
}

/// Quantises one group and returns its scale. Quants and sums beyond the inputs are 0; `sums` may have room for none.
#[inline]
#[target_feature(enable = "neon")]
fn group(x: &[f32], peak: f32, quants: &mut [i8], sums: &mut [i16]) -> f32 {
    if peak < act::TINY {
        quants.fill(0);
        sums.fill(0);
        return 0.0;
    }
    let factor = QUANT_MAX / peak;
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    let (whole, rest) = quants.split_at_mut(blocks.len() * BLOCK);
    let mut sums = sums.iter_mut();
    for (x, quants) in blocks.iter().zip(whole.as_chunks_mut().0) {
        let sum = block(x, factor, quants);
        if let Some(place) = sums.next() {
            *place = sum;
        }
    }
    if !tail.is_empty() {
        let mut quants = [0; BLOCK];
        let sum = block(&padded(tail), factor, &mut quants);
        let len = rest.len().min(BLOCK);
        rest[..len].copy_from_slice(&quants[..len]);
        if let Some(place) = sums.next() {
            *place = sum;
        }
    }
    rest[tail.len()..].fill(0);
    for place in sums {
        *place = 0;
    }
    peak / QUANT_MAX
}

/// The registers of a block.
#[inline]
#[target_feature(enable = "neon")]
fn load(x: &[f32; BLOCK]) -> [float32x4_t; REGISTERS] {
    let mut registers = [vdupq_n_f32(0.0); REGISTERS];
    for i in 0..REGISTERS {
        // SAFETY: a block is as many times four floats as it has registers.
        registers[i] = unsafe { vld1q_f32(x.as_ptr().add(FOUR * i)) };
    }
    registers
}

/// Quantises a block and returns its sum.
#[inline]
#[target_feature(enable = "neon")]
fn block(x: &[f32; BLOCK], factor: f32, quants: &mut [i8; BLOCK]) -> i16 {
    let x = load(x);
    let mut pairs = vdupq_n_s16(0);
    for (i, quants) in quants.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = vqmovn_high_s32(vqmovn_s32(quant(x[4 * i], factor)), quant(x[4 * i + 1], factor));
        let high = vqmovn_high_s32(vqmovn_s32(quant(x[4 * i + 2], factor)), quant(x[4 * i + 3], factor));
        let bytes = vqmovn_high_s16(vqmovn_s16(low), high);
        pairs = vpadalq_s8(pairs, bytes);
        // SAFETY: the array has the 16 bytes that are written.
        unsafe { vst1q_s8(quants.as_mut_ptr(), bytes) };
    }
    vaddvq_s16(pairs)
}

/// Four quants, of which narrowing has yet to cut off what is above the largest.
#[inline]
#[target_feature(enable = "neon")]
fn quant(x: float32x4_t, factor: f32) -> int32x4_t {
    vcvtnq_s32_f32(vmaxnmq_f32(vmulq_n_f32(x, factor), vdupq_n_f32(-QUANT_MAX)))
}
