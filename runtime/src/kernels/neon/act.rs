//! Activations to int8, and what is left over: the laws of [`kinglet_quant::act`].
//!
//! Comparisons pass over NaN, as the law does. A product is never a signalling NaN, so that of it and a number the
//! instruction `fmaxnm` takes the number; conversions round ties to even, and narrowing saturates.

use crate::kernels::quantise::{QUANT_MAX, Quants};
use crate::kernels::{lanes, token};
use crate::tensor::Acts;
use core::arch::aarch64::*;
use kinglet_quant::{BLOCK, act};

/// Floats of a register.
const FOUR: usize = 4;
/// Registers of a block.
const REGISTERS: usize = BLOCK / FOUR;

/// See [`Quants`]. Only entries of tables with NEON may name it.
pub(super) struct NeonQuants;

impl Quants for NeonQuants {
    #[inline(always)]
    fn peak(x: &[f32]) -> f32 {
        // SAFETY: this type is named only by entries of tables with NEON, which run with the feature.
        unsafe { peak(x) }
    }

    #[inline(always)]
    fn block(x: &[f32; BLOCK], factor: f32, quants: &mut [i8; BLOCK]) -> i16 {
        // SAFETY: as in `peak`.
        unsafe { block(x, factor, quants) }
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

/// See [`Quants::peak`].
#[inline]
#[target_feature(enable = "neon")]
fn peak(x: &[f32]) -> f32 {
    // What has the largest magnitude so far, whatever its sign.
    let mut peaks = [vdupq_n_f32(0.0); REGISTERS / 2];
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    for x in blocks {
        raise(&mut peaks, x);
    }
    if let Some(x) = lanes::padded(tail) {
        raise(&mut peaks, &x);
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

/// See [`Quants::block`].
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
