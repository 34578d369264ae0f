//! The elementary functions of the number law: `exp`, `tanh`, `sqrt`, `sin_cos`.
//!
//! Every function uses only IEEE-exact operations (`+ - *` `/`, conversions, integer operations) in one written order: no
//! fused multiply-add, no libm. So a result is the same bits on every machine, in every lane of a vector and in a scalar loop.
//! It is not a general libm: each function says where it is accurate and what it returns outside.
//!
//! `exp` and `tanh` have no branch and no table, only selects, so a loop over an array becomes vector code:
//!
//! ```
//! let mut lanes = [-1.0_f32, 0.0, 0.5, 1.0, 2.0, 3.0, -20.0, -100.0];
//! for lane in &mut lanes {
//!     *lane = kinglet::math::exp(*lane);
//! }
//! assert_eq!(lanes[1], 1.0);
//! assert_eq!(lanes[7], 0.0);
//! ```

/// Adding and taking away 1.5 × 2^23 rounds an `f32` below 2^22 to the nearest integer, ties to even, and leaves that integer in
/// the low bits of the sum.
const ROUND_F32: f32 = 12_582_912.0;
/// The same for an `f64` below 2^51.
const ROUND_F64: f64 = 6_755_399_441_055_744.0;

/// Below this, `e^x` is smaller than the least normal `f32` (2^-126) and [`exp`] returns 0.
pub const EXP_FLUSH: f32 = -87.3;

/// `e^x`, within 2 units in the last place for `x` in -87.3..=88.72.
///
/// Exactly 1 at 0 (either sign), 0 below [`EXP_FLUSH`], infinity where the result exceeds `f32`, NaN for NaN.
///
/// With `n` the integer nearest `x / ln 2` and `r = x - n ln 2`: `e^x = 2^n e^r`, `|r| <= 0.347`.
/// 1. `n` comes from the rounding constant. `ln 2` is split so that `n * LN2_HIGH` is exact: 9 bits times 8 bits.
/// 2. `e^r = 1 + r + r² q(r)`, `q` of degree 4, nearly minimax: 0.06 units.
/// 3. `2^n` is applied as two factors, because 2^128 itself is not an `f32`.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // At 89 the product below is already infinite; the clamp keeps n in the range of the exponent field. NaN passes: it compares false.
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -88.0 { -88.0 } else { clamped };
    let (n, e_r) = reduced_exp(clamped);
    let half = n >> 1;
    let result = e_r * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    if x < EXP_FLUSH { 0.0 } else { result }
}

/// The bits of [`exp`] for `x` that is not above 0 (NaN for NaN, of any payload), for less: no clamp, since what they would
/// change is replaced by 0, and one factor, since 2^n is normal.
#[inline(always)]
#[must_use]
pub(crate) fn exp_nonpositive(x: f32) -> f32 {
    let (n, e_r) = reduced_exp(x);
    let result = e_r * power_of_two(n);
    if x < EXP_FLUSH { 0.0 } else { result }
}

/// `n` and `e^r`, see [`exp`].
#[inline(always)]
fn reduced_exp(x: f32) -> (i32, f32) {
    const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * core::f32::consts::LOG2_E + ROUND_F32;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND_F32.to_bits() as i32);
    let n_float = shifted - ROUND_F32;
    let r = (x - n_float * LN2_HIGH) - n_float * LN2_LOW;

    let q = 1.381_446_7e-3_f32;
    let q = q * r + 8.368_781e-3;
    let q = q * r + 4.166_839_3e-2;
    let q = q * r + 0.166_665_2;
    let q = q * r + 0.499_999_94;
    (n, (q * (r * r) + r) + 1.0)
}

/// 2^n for n in -126..=127; any other n gives some `f32`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// The hyperbolic tangent, within 2 units in the last place everywhere; ±1 from |x| = 9.02 on, odd, NaN for NaN.
///
/// Below 0.6 it is `x + x³ q(x²)`, `q` of degree 4; from there `1 - 2 / (e^2|x| + 1)`, which would cancel near 0.
/// Both are computed and one is selected.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let q = -5.895_158e-3_f32;
    let q = q * square + 2.079_597_1e-2;
    let q = q * square - 5.378_383e-2;
    let q = q * square + 0.133_319_24;
    let q = q * square - 0.333_333;
    let near = q * (square * x) + x;

    let far = 1.0 - 2.0 / (exp(magnitude + magnitude) + 1.0);
    let result = if magnitude < 0.6 { near } else { far };
    result.copysign(x)
}

/// The square root, correctly rounded, as IEEE 754 demands and every `sqrt` instruction gives: `core` has none.
///
/// Negative numbers and NaN give NaN; -0 gives -0.
///
/// The significand is taken as an integer `m` below 2^24 and the root of `m * 2^26` or `m * 2^25` (whichever leaves an even exponent) has 25
/// bits: one more than the result. That last bit decides the rounding alone, because a root is never halfway between two
/// `f32`: its square would need an odd integer of 49 bits or more, and `m * 2^25` is even.
#[must_use]
pub fn sqrt(x: f32) -> f32 {
    let bits = x.to_bits();
    if x == 0.0 || bits == f32::INFINITY.to_bits() {
        return x;
    }
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    // x = significand * 2^exponent, with the significand's top bit at 23.
    let (mut significand, mut exponent) = (bits & 0x7f_ffff, (bits >> 23) as i32 - 150);
    if bits >> 23 == 0 {
        let shift = significand.leading_zeros() - 8;
        significand <<= shift;
        exponent = -149 - shift as i32;
    } else {
        significand |= 0x80_0000;
    }
    let shift = if exponent & 1 == 0 { 26 } else { 25 };
    let root = (u64::from(significand) << shift).isqrt(); // in 2^24..2^25
    let rounded = ((root + 1) >> 1) as u32; // in 2^23..=2^24
    // The result is rounded * 2^((exponent - shift) / 2 + 1); a carry to 2^24 moves into the exponent field by the same addition.
    let field = ((exponent - shift) / 2 + 1 + 150) as u32;
    f32::from_bits(((field - 1) << 23) + rounded)
}

/// `(sin x, cos x)`, each within 1 unit in the last place for |x| <= 2^20; NaN for NaN and the infinities.
///
/// Everything is computed in `f64`, whose slack hides the errors of reduction and polynomials, and rounded once at the end.
/// Beyond 2^20 the reduction loses digits, and from 2^50 on the values are meaningless, yet the same everywhere.
/// 1. `k` is the integer nearest `x * 2 / pi`; `pi / 2` is split so that `k * HIGH` is exact (33 bits times 20).
/// 2. On |r| <= pi / 4 the series to r^13 and r^14 are exact to 2^-45.
/// 3. `k mod 4` swaps and signs the two.
#[must_use]
pub fn sin_cos(x: f32) -> (f32, f32) {
    const HIGH: f64 = 1.570_796_326_734_125_6; // the first 33 bits of pi / 2
    const LOW: f64 = 6.077_100_506_506_192e-11; // the next 53
    let x = f64::from(x);
    let shifted = x * core::f64::consts::FRAC_2_PI + ROUND_F64;
    let quadrant = shifted.to_bits() & 3;
    let k = shifted - ROUND_F64;
    let r = (x - k * HIGH) - k * LOW;

    let z = r * r;
    let s = 1.0 / 6_227_020_800.0;
    let s = s * z - 1.0 / 39_916_800.0;
    let s = s * z + 1.0 / 362_880.0;
    let s = s * z - 1.0 / 5_040.0;
    let s = s * z + 1.0 / 120.0;
    let s = s * z - 1.0 / 6.0;
    let sin = r + r * (z * s);
    let c = -1.0 / 87_178_291_200.0;
    let c = c * z + 1.0 / 479_001_600.0;
    let c = c * z - 1.0 / 3_628_800.0;
    let c = c * z + 1.0 / 40_320.0;
    let c = c * z - 1.0 / 720.0;
    let c = c * z + 1.0 / 24.0;
    let cos = (1.0 - 0.5 * z) + (z * z) * c;

    let (sin, cos) = if quadrant & 1 == 0 { (sin, cos) } else { (cos, -sin) };
    let (sin, cos) = if quadrant & 2 == 0 { (sin, cos) } else { (-sin, -cos) };
    (sin as f32, cos as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance of two finite floats in representable steps.
    fn steps(a: f32, b: f32) -> u32 {
        let order = |v: f32| {
            let bits = v.to_bits() as i32;
            if bits < 0 { i32::MIN.wrapping_sub(bits) } else { bits }
        };
        order(a).abs_diff(order(b))
    }

    /// Floats spread over all bit patterns; the stride is odd, so neither exponents nor low bits repeat.
    fn patterns(stride: usize) -> impl Iterator<Item = f32> {
        let stride = if cfg!(miri) { stride * 4001 } else { stride };
        (0..=u32::MAX).step_by(stride).map(f32::from_bits)
    }

    #[test]
    fn exp_is_within_two_steps() {
        let mut worst = 0;
        for x in patterns(1009).filter(|x| (-87.3..=88.72).contains(x)) {
            let exact = f64::from(x).exp() as f32;
            worst = worst.max(steps(exp(x), exact));
        }
        assert!(worst <= 2, "{worst} steps");
    }

    #[test]
    fn exp_at_its_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert!(exp(-87.299_99) > 0.0);
        assert_eq!(exp(-87.4).to_bits(), 0);
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exp(f32::MIN).to_bits(), 0);
        assert_eq!(exp(88.73), f32::INFINITY);
        assert_eq!(exp(f32::MAX), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-f32::NAN).is_nan());
        assert!(exp(88.72) < f32::INFINITY);
    }

    #[test]
    fn exp_nonpositive_is_exp() {
        let bits = |x: f32| (exp_nonpositive(x).to_bits(), exp(x).to_bits());
        for x in [0.0, -0.0, EXP_FLUSH, EXP_FLUSH.next_up(), EXP_FLUSH.next_down(), -88.0, -1e30, f32::MIN, f32::NEG_INFINITY] {
            let (ours, exact) = bits(x);
            assert_eq!(ours, exact, "{x}");
        }
        assert!(exp_nonpositive(f32::NAN).is_nan());
        let step = if cfg!(miri) { 1 << 20 } else { 101 };
        for x in ((-0.0_f32).to_bits()..=f32::NEG_INFINITY.to_bits()).step_by(step).map(f32::from_bits) {
            let (ours, exact) = bits(x);
            assert_eq!(ours, exact, "{x}");
        }
    }

    #[test]
    fn exp_does_not_decrease() {
        let mut before = 0.0;
        for step in 0..200_000 {
            let value = exp(-88.0 + step as f32 * (176.0 / 200_000.0));
            // Two steps of error may fall against each other only between arguments closer than that.
            assert!(value >= before, "at {step}");
            before = value;
        }
    }

    #[test]
    fn tanh_is_within_two_steps() {
        let mut worst = 0;
        for x in patterns(1009).filter(|x| !x.is_nan()) {
            let exact = f64::from(x).tanh() as f32;
            worst = worst.max(steps(tanh(x), exact));
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert!(worst <= 2, "{worst} steps");
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(-20.0), -1.0);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0_f32).to_bits());
    }

    #[test]
    fn sqrt_equals_the_instruction() {
        let perfect = (1_u32..5000).map(|n| (n * n) as f32);
        let edges =
            [0.0, -0.0, 1.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::from_bits(1), f32::from_bits(2), f32::from_bits(0x7f_ffff)];
        for x in patterns(499).chain(perfect).chain(edges) {
            let (ours, exact) = (sqrt(x), x.sqrt());
            assert!(ours.to_bits() == exact.to_bits() || (ours.is_nan() && exact.is_nan()), "sqrt({x:e}): {ours:e}, not {exact:e}");
        }
        assert!(sqrt(-1.0).is_nan());
    }

    #[test]
    fn sin_cos_is_within_one_step() {
        let mut worst = 0;
        let far = 1_048_576.0;
        let dense = (0..400_000).map(|step| step as f32 * 2.621_3);
        for x in patterns(2003).filter(|x| x.abs() <= far).chain(dense) {
            let (sin, cos) = sin_cos(x);
            let (exact_sin, exact_cos) = f64::from(x).sin_cos();
            worst = worst.max(steps(sin, exact_sin as f32)).max(steps(cos, exact_cos as f32));
        }
        assert!(worst <= 1, "{worst} steps");
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
        assert!(sin_cos(f32::INFINITY).0.is_nan());
        assert!(sin_cos(f32::NAN).1.is_nan());
    }

    #[test]
    fn the_same_bits_in_lanes_and_alone() {
        let lanes: [f32; 8] = core::array::from_fn(|lane| -90.0 + 23.7 * lane as f32);
        let together = lanes.map(exp);
        for (x, y) in lanes.iter().zip(together) {
            assert_eq!(core::hint::black_box(exp(core::hint::black_box(*x))).to_bits(), y.to_bits());
        }
    }
}
