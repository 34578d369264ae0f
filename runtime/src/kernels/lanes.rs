//! The float kernels, written once: `scalar` calls these bodies plain, an instruction set calls them from a function
//! with its features, and the compiler makes wider code of the same IEEE operations in the same order.
//!
//! Every body is `#[inline(always)]`, or it would be compiled once, for the narrowest machine. Elementwise bodies are
//! loops over slices without a branch inside; reductions keep eight lanes in an array, as the law of a lane sum says.
//! There is no integer dot product here: what is exact in any order is written by hand for each instruction set.

use super::{Activation, check_heads, check_quantise, token};
use crate::math;
use crate::tensor::{Acts, ActsMut};
use kinglet_quant::{BLOCK, LANES, act};

/// Eight values that a reduction carries side by side.
pub(super) type Lanes = [f32; LANES];

/// The one tree in which eight lanes become a value.
#[inline(always)]
pub(super) fn tree(l: Lanes, join: impl Fn(f32, f32) -> f32) -> f32 {
    join(join(join(l[0], l[4]), join(l[2], l[6])), join(join(l[1], l[5]), join(l[3], l[7])))
}

/// Adds `term(a[i], b[i])` to the lanes of a lane sum.
#[inline(always)]
fn add_terms(lanes: &mut Lanes, a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) {
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    // The zeros that pad the last chunk change nothing: a lane that starts at +0 is never -0.
    for (lane, (a, b)) in lanes.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *lane += term(*a, *b);
    }
}

/// The lane sum of `term(a[i], b[i])`.
#[inline(always)]
fn lane_sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    add_terms(&mut lanes, a, b, term);
    tree(lanes, |a, b| a + b)
}

/// Adds `w[i] * x[i]` to the lanes of a lane sum that goes on.
#[inline(always)]
pub(super) fn dot_into(lanes: &mut Lanes, w: &[f32], x: &[f32]) {
    add_terms(lanes, w, x, |w, x| w * x);
}

/// The lane sum of `w[i] * x[i]`.
#[inline(always)]
pub(super) fn dot(w: &[f32], x: &[f32]) -> f32 {
    lane_sum(w, x, |w, x| w * x)
}

/// The lane sum of `x[i]`.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    lane_sum(x, x, |x, _| x)
}

/// `b` if it is greater, else `a`: one `max` instruction, with NaN and zeros pinned down.
#[inline(always)]
pub(super) fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// What is left of a slice after its whole chunks, as one more chunk that zeros fill; none if nothing is.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
#[inline(always)]
pub(super) fn padded<const N: usize>(tail: &[f32]) -> Option<[f32; N]> {
    if tail.is_empty() {
        return None;
    }
    let mut chunk = [0.0; N];
    chunk[..tail.len()].copy_from_slice(tail);
    Some(chunk)
}

/// Entry `rms_norm`.
#[inline(always)]
pub(super) fn rms_norm(weight: &[f32], eps: f32, x: &[f32], out: &mut [f32]) {
    assert!(weight.len() == x.len() && out.len() == x.len());
    let mean_square = lane_sum(x, x, |x, _| x * x) / x.len() as f32;
    let r = 1.0 / math::sqrt(mean_square + eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * r) * weight;
    }
}

/// Entry `layer_norm`.
#[inline(always)]
pub(super) fn layer_norm(weight: &[f32], bias: &[f32], eps: f32, x: &[f32], out: &mut [f32]) {
    assert!(weight.len() == x.len() && bias.len() == x.len() && out.len() == x.len());
    let n = x.len() as f32;
    let mean = sum(x) / n;
    let variance = lane_sum(x, x, |x, _| (x - mean) * (x - mean)) / n;
    let r = 1.0 / math::sqrt(variance + eps);
    for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((x - mean) * r) * weight + bias;
    }
}

/// Entry `rope`.
#[inline(always)]
pub(super) fn rope(cos: &[f32], sin: &[f32], x: &mut [f32]) {
    let half = cos.len();
    assert!(sin.len() == half && x.len() >= 2 * half);
    let (front, back) = x.split_at_mut(half);
    for (((a, b), cos), sin) in front.iter_mut().zip(back).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + math::exp(-x))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + math::tanh(SQRT_2_OVER_PI * (x + 0.044_715 * (x * x * x))))
}

#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * core::f32::consts::FRAC_1_SQRT_2))
}

/// Asked of the bits: from a comparison of floats the compiler makes AArch64's `fmaxnm`, which gives NaN for a NaN that signals.
#[inline(always)]
fn relu(x: f32) -> f32 {
    let is_above_zero = x.to_bits().wrapping_sub(1) < f32::INFINITY.to_bits();
    if is_above_zero { x } else { 0.0 }
}

/// The error function, within 2 units in the last place, odd, ±1 from |x| = 4 on; NaN for NaN.
///
/// Below 1 it is `x + x q(x²)`, `q` of degree 5; from there `1 - exp(p(|x|))`, `p` of degree 6 near `ln(1 - erf)`.
/// Both are nearly minimax, both are computed, and one is selected.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let q = -5.631_419e-4_f32;
    let q = q * square + 4.917_551e-3;
    let q = q * square - 2.671_131_1e-2;
    let q = q * square + 0.112_801_8;
    let q = q * square - 0.376_123_25;
    let q = q * square + 0.128_379_12;
    let near = q * magnitude + magnitude;

    let t = if magnitude > 4.0 { 4.0 } else { magnitude };
    let p = 1.888_236_1e-4_f32;
    let p = p * t - 2.972_442e-3;
    let p = p * t + 2.194_043e-2;
    let p = p * t - 0.103_327_35;
    let p = p * t - 0.637_883_07;
    let p = p * t - 1.127_251_5;
    let p = p * t - 3.004_283_6e-4;
    let far = 1.0 - math::exp(p);
    let result = if magnitude < 1.0 { near } else { far };
    result.copysign(x)
}

/// `x[i] = f(x[i])`. A `for` loop, because `for_each` is a function of its own, compiled for the narrowest machine.
#[inline(always)]
fn map(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in x {
        *x = f(*x);
    }
}

/// `gate[i] = f(gate[i]) * up[i]`.
#[inline(always)]
fn map_gated(up: &[f32], gate: &mut [f32], f: impl Fn(f32) -> f32) {
    assert_eq!(up.len(), gate.len());
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = f(*gate) * up;
    }
}

/// Entry `activate`.
#[inline(always)]
pub(super) fn activate(f: Activation, x: &mut [f32]) {
    // The choice stands outside the loops, so that each of them is vector code.
    match f {
        Activation::Silu => map(x, silu),
        Activation::GeluTanh => map(x, gelu_tanh),
        Activation::GeluErf => map(x, gelu_erf),
        Activation::Relu => map(x, relu),
    }
}

/// Entry `activate_gated`.
#[inline(always)]
pub(super) fn activate_gated(f: Activation, up: &[f32], gate: &mut [f32]) {
    match f {
        Activation::Silu => map_gated(up, gate, silu),
        Activation::GeluTanh => map_gated(up, gate, gelu_tanh),
        Activation::GeluErf => map_gated(up, gate, gelu_erf),
        Activation::Relu => map_gated(up, gate, relu),
    }
}

/// Entry `add`.
#[inline(always)]
pub(super) fn add(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// `v` between `least` and `most`, NaN being `least`, rounded to the nearest integer, ties to even.
#[inline(always)]
pub(super) fn clamp_round(least: f32, most: f32, v: f32) -> i32 {
    // Adding 1.5 * 2^23 leaves the integer in the low bits of the sum.
    const MAGIC: f32 = 12_582_912.0;
    let v = if v > least { v } else { least };
    let v = if v < most { v } else { most };
    (v + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

/// The largest quant.
const QUANT_MAX: f32 = act::QUANT_MAX as f32;

/// Quantises one group of any length and returns its scale.
#[inline(always)]
fn quantise_group(x: &[f32], q: &mut [i8]) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for x in chunks {
        for lane in 0..LANES {
            lanes[lane] = greater(lanes[lane], x[lane].abs());
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane = greater(*lane, x.abs());
    }
    let peak = tree(lanes, greater);
    if peak < act::TINY {
        q.fill(0);
        return 0.0;
    }
    let factor = QUANT_MAX / peak;
    for (q, x) in q.iter_mut().zip(x) {
        *q = clamp_round(-QUANT_MAX, QUANT_MAX, x * factor) as i8;
    }
    peak / QUANT_MAX
}

/// Entry `quantise`.
#[inline(always)]
pub(super) fn quantise(x: &[f32], out: &mut ActsMut<'_>) {
    check_quantise(x, out);
    let cols = out.cols();
    for (x, (q, scales, sums)) in x.chunks_exact(cols.max(1)).zip(out.rows()) {
        let (_, padding) = q.split_at_mut(cols);
        padding.fill(0);
        for ((x, q), scale) in x.chunks(act::GROUP).zip(q.chunks_mut(act::GROUP)).zip(scales) {
            *scale = quantise_group(x, &mut q[..x.len()]);
        }
        for (q, sum) in q.as_chunks::<BLOCK>().0.iter().zip(sums) {
            *sum = q.iter().map(|q| i16::from(*q)).sum();
        }
    }
}

/// Entry `quantise_heads`.
#[inline(always)]
pub(super) fn quantise_heads(x: &[f32], scales: &mut [f32], quants: &mut [i8]) {
    let head_dim = check_heads(x, scales, quants);
    for ((x, q), scale) in x.chunks_exact(head_dim).zip(quants.chunks_exact_mut(head_dim)).zip(scales) {
        *scale = quantise_group(x, q);
    }
}

/// Entry `subtract`.
#[inline(always)]
pub(super) fn subtract(acts: &Acts<'_>, x: &mut [f32]) {
    let cols = acts.cols();
    assert!(cols.checked_mul(acts.tokens()) == Some(x.len()));
    for (t, x) in x.chunks_exact_mut(cols.max(1)).enumerate() {
        let (q, scales, _) = token(acts, t);
        for ((x, q), scale) in x.chunks_mut(act::GROUP).zip(q.chunks(act::GROUP)).zip(scales) {
            for (x, q) in x.iter_mut().zip(q) {
                *x -= scale * f32::from(*q);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The series with positive terms only: no cancellation.
    fn erf_f64(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        core::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    }

    #[test]
    fn erf_is_within_two_steps() {
        for step in 1..500_000 {
            let x = step as f32 * 1e-5;
            let (ours, exact) = (erf(x), erf_f64(f64::from(x)));
            let unit = f64::from((exact as f32).next_up() - exact as f32);
            assert!((f64::from(ours) - exact).abs() <= 2.0 * unit, "erf({x}) = {ours}, not {exact}");
            assert_eq!(erf(-x), -ours);
        }
        assert_eq!(erf(0.0).to_bits(), 0);
        assert_eq!(erf(f32::INFINITY), 1.0);
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn a_lane_sum_has_its_tree() {
        // Powers of two far apart: any other order loses other bits.
        let x: Vec<f32> = (0..19).map(|i| 3.0_f32.powi(i) * if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let mut l = [0.0_f32; 8];
        for (i, x) in x.iter().enumerate() {
            l[i % 8] += x;
        }
        let expected = ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
        assert_eq!(sum(&x).to_bits(), expected.to_bits());
    }

    #[test]
    fn rounding_is_to_even() {
        let cases = [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (126.5, 126), (-127.0, -127), (1e30, 127), (f32::NAN, -127)];
        for (v, expected) in cases {
            assert_eq!(clamp_round(-127.0, 127.0, v), expected, "{v}");
        }
    }
}
