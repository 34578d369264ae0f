//! Activations: int8 per token, one f32 scale per group of inputs, and the sum of every block.
//!
//! For a group `x[0..GROUP]`, with `peak = max |x|`:
//!
//! ```text
//! peak < TINY:  scale = 0, all q = 0
//! otherwise:    scale = peak / 127,  q = round_half_even(clamp(x * (127 / peak), -127, 127))
//! ```
//!
//! A token of `cols` inputs is stored padded: `q: [i8; padded(cols)]`, `scales: [f32; groups(cols)]`,
//! `sums: [i16; padded(cols) / 32]`, where `sums[b]` is the sum of the 32 quants of block `b`. Padding quants are 0.
//!
//! **What is not a number.** Minimum and maximum are those of x86 (`maxps`, `minps`), which return their second operand
//! when either is NaN: `max(v, m) = if v > m { v } else { m }`. Hence a NaN never raises the peak, and its quant is -127
//! (0 where the group is stored as zeros); an infinity makes the scale infinite, its own quant -127 and the finite
//! ones 0, so that what is computed from the group is not finite either. Quants are in -127..=127 whatever the input.

use crate::{BLOCK, LANES, UNIT};

/// Inputs that share one activation scale. A multiple of [`UNIT`], at most 256 (the overflow bounds of `q4` and
/// `q8` are written for 256).
pub const GROUP: usize = 128;
/// Terms that an activation is the sum of, for weights of a type: each is quantised by the law above, the second one from
/// what the first leaves over. Eight-bit weights deserve more than eight-bit activations; the error of four-bit weights
/// hides that of activations.
#[must_use]
pub const fn terms(weights: crate::DType) -> usize {
    match weights {
        crate::DType::Q8 => 2,
        crate::DType::Q4 | crate::DType::F16 | crate::DType::F32 => 1,
    }
}

/// Below this peak a group is stored as zeros: its reciprocal would leave the range of f32.
pub const TINY: f32 = 1e-30;
/// The largest quant; the smallest is its negative.
pub const QUANT_MAX: i8 = 127;

// The kernels of AArch64 ask for 128.
const _: () = assert!(GROUP.is_multiple_of(UNIT) && GROUP <= 256);

/// Quants stored for `cols` inputs: `cols` rounded up to a whole unit.
#[must_use]
pub const fn padded(cols: usize) -> usize {
    cols.next_multiple_of(UNIT)
}

/// Scales stored for `cols` inputs. The last group may be shorter.
#[must_use]
pub const fn groups(cols: usize) -> usize {
    padded(cols).div_ceil(GROUP)
}

/// Block sums stored for `cols` inputs.
#[must_use]
pub const fn blocks(cols: usize) -> usize {
    padded(cols) / BLOCK
}

/// Quantises one token by the law above. Every vector kernel of this step gives these bits.
///
/// # Panics
/// If `q`, `scales` and `sums` are not exactly [`padded`], [`groups`] and [`blocks`] of `x.len()` long.
pub fn quantise(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [i16]) {
    assert_eq!(q.len(), padded(x.len()), "quants");
    assert_eq!(scales.len(), groups(x.len()), "scales");
    assert_eq!(sums.len(), blocks(x.len()), "sums");
    q[x.len()..].fill(0);
    for ((group, quants), scale) in x.chunks(GROUP).zip(q.chunks_mut(GROUP)).zip(scales.iter_mut()) {
        *scale = quantise_group(group, &mut quants[..group.len()]);
    }
    for (sum, block) in sums.iter_mut().zip(q.chunks_exact(BLOCK)) {
        *sum = block.iter().map(|&quant| i16::from(quant)).sum();
    }
}

/// Takes quantised values off `x`, `x[i] = x[i] - scale * q[i]`: what is left over for the next term.
pub fn subtract(q: &[i8], scales: &[f32], x: &mut [f32]) {
    for ((group, quants), scale) in x.chunks_mut(GROUP).zip(q.chunks(GROUP)).zip(scales) {
        for (value, &quant) in group.iter_mut().zip(quants) {
            *value -= scale * f32::from(quant);
        }
    }
}

/// Quantises one group of any length by the law above; returns its scale. `q` is as long as `x`.
pub fn quantise_group(x: &[f32], q: &mut [i8]) -> f32 {
    let peak = peak(x);
    if peak < TINY {
        q.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / peak;
    for (quant, &value) in q.iter_mut().zip(x) {
        let v = value * inverse;
        let v = if v > -127.0 { v } else { -127.0 };
        let v = if v < 127.0 { v } else { 127.0 };
        *quant = crate::round_half_even(v) as i8;
    }
    peak / 127.0
}

/// The largest `|v|`, ignoring NaN; 0 of nothing. A maximum does not depend on the order, so lanes are free to use.
fn peak(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(v.abs(), *lane);
        }
    }
    let peak = lanes.iter().fold(0.0, |m, &v| larger(v, m));
    rest.iter().fold(peak, |m, v| larger(v.abs(), m))
}

fn larger(v: f32, m: f32) -> f32 {
    if v > m { v } else { m }
}
