//! The float helpers of the number law over every input there is: 2^32 bit patterns, or all 65,536 halves.
//!
//! A helper is a function of one number. Where it is reached through entries of a kernel table only, such as `activate`,
//! inputs are laid so that the entry's output is the helper's value and nothing else. Each route of each instruction set
//! gives the bits of `scalar`; `scalar` stays within the bound of an oracle in f64, or equals exact arithmetic. The outputs
//! make one hash, so machines are compared by a line.

use kinglet::fnv;
use kinglet::kernels::attention::{BLOCK, CacheF32, CacheI8, Partials, QueriesF32, QueriesI8, Reach};
use kinglet::kernels::{Activation, Kernels, contract};
use kinglet::math;
use kinglet::tensor::{ActsMut, Matrix, Outputs};
use kinglet_quant::{DType, act, float};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A function of one number, its oracle, and the ways to it.
pub struct Helper {
    /// What the reports call it.
    pub name: &'static str,
    /// There are 2^this inputs.
    pub input_bits: u32,
    /// The input with this index, as bits.
    input: fn(u32) -> u32,
    /// How far an output is from the oracle, as a share of what is allowed.
    oracle: fn(u32, u32) -> f64,
    /// The same function by different ways.
    routes: &'static [Route],
    /// Hashes of every [`STEPS`]th output; of helpers with few inputs, the same three times.
    golden: [u64; STEPS.len()],
}

/// Golden hashes are of every input, of every 61st and of every 4,099th: primes, so that neither exponents nor low bits repeat.
pub const STEPS: [u64; 3] = [1, 61, 4099];

/// One way to a helper's values.
struct Route {
    name: &'static str,
    /// Whether each table has its own.
    is_entry: bool,
    /// From bits of inputs to bits of outputs.
    run: fn(&Kernels, &[u32], &mut [u32]),
}

/// A function outside the tables.
const fn plain(name: &'static str, run: fn(&Kernels, &[u32], &mut [u32])) -> Route {
    Route { name, is_entry: false, run }
}

/// An entry of the tables.
const fn entry(name: &'static str, run: fn(&Kernels, &[u32], &mut [u32])) -> Route {
    Route { name, is_entry: true, run }
}

/// The ways to an activation function, which is no argument of a function pointer.
macro_rules! activation {
    ($function:ident) => {
        &[
            entry("activate", |k, x, y| activate(k, Activation::$function, x, y)),
            entry("activate_gated", |k, x, y| activate_gated(k, Activation::$function, x, y)),
        ]
    };
}

/// Every helper.
pub static HELPERS: &[Helper] = &[
    Helper {
        name: "exp",
        input_bits: 32,
        input: every,
        oracle: |x, y| exp_oracle(f32::from_bits(x), f32::from_bits(y)),
        routes: &[plain("math::exp", |_, x, y| map(x, y, math::exp))],
        golden: [0xf4c2_dce6_8632_c0d9, 0x6d1f_aecc_72fc_138c, 0x0abf_0e54_a97c_c93a],
    },
    Helper {
        name: "tanh",
        input_bits: 32,
        input: every,
        oracle: |x, y| steps_oracle(f64::from(f32::from_bits(x)).tanh(), f32::from_bits(y), 2),
        routes: &[plain("math::tanh", |_, x, y| map(x, y, math::tanh))],
        golden: [0x709e_699d_2087_f98d, 0x59f2_0029_9792_2ef3, 0xae29_fc25_298b_d6a5],
    },
    Helper {
        name: "sqrt",
        input_bits: 32,
        input: every,
        // The instruction.
        oracle: |x, y| exactly(f32::from_bits(x).sqrt(), f32::from_bits(y)),
        routes: &[plain("math::sqrt", |_, x, y| map(x, y, math::sqrt))],
        golden: [0x74ec_b869_ad85_42ff, 0x4708_8b41_4976_6bd2, 0xb3ab_2883_7515_c1ef],
    },
    Helper {
        name: "sin",
        input_bits: 32,
        input: every,
        oracle: |x, y| circle_oracle(f32::from_bits(x), f64::from(f32::from_bits(x)).sin(), f32::from_bits(y)),
        routes: &[plain("math::sin_cos", |_, x, y| map(x, y, |x| math::sin_cos(x).0))],
        golden: [0x049d_34b3_617a_7daa, 0x7002_1b4f_41b0_9e25, 0xffd2_0757_3bcd_4cb9],
    },
    Helper {
        name: "cos",
        input_bits: 32,
        input: every,
        oracle: |x, y| circle_oracle(f32::from_bits(x), f64::from(f32::from_bits(x)).cos(), f32::from_bits(y)),
        routes: &[plain("math::sin_cos", |_, x, y| map(x, y, |x| math::sin_cos(x).1))],
        golden: [0xc9d6_19d3_a236_9c7b, 0xf55b_46c9_255e_a9d9, 0xc6e5_dd3e_a731_45bb],
    },
    Helper {
        name: "inverse_sqrt",
        input_bits: 32,
        // Whatever is added to -0 makes it +0.
        input: |i| if i == SIGN { 0 } else { i },
        oracle: |x, y| exactly(1.0 / f32::from_bits(x).sqrt(), f32::from_bits(y)),
        routes: &[entry("rms_norm", rms_norm)],
        golden: [0x6281_2ad6_637d_6205, 0x9104_3863_8ea5_d8b5, 0xe9c7_38c2_ff89_04f9],
    },
    Helper {
        name: "silu",
        input_bits: 32,
        input: every,
        oracle: |x, y| silu_oracle(f32::from_bits(x), f32::from_bits(y)),
        routes: activation!(Silu),
        golden: [0x77fa_d7b2_0b67_8de4, 0x05da_55fa_763a_b294, 0x7ea2_0e6d_2c06_bcf5],
    },
    Helper {
        name: "gelu_tanh",
        input_bits: 32,
        input: every,
        oracle: |x, y| gelu_tanh_oracle(f32::from_bits(x), f32::from_bits(y)),
        routes: activation!(GeluTanh),
        golden: [0x1413_2f3e_b798_70e2, 0xfd08_2721_66c3_b19a, 0x04fa_2b34_cc80_73c5],
    },
    Helper {
        name: "gelu_erf",
        input_bits: 32,
        input: every,
        oracle: |x, y| gelu_erf_oracle(f32::from_bits(x), f32::from_bits(y)),
        routes: activation!(GeluErf),
        golden: [0x80f9_0721_deb1_ddc2, 0x16c1_d5fb_ff9f_9b35, 0xf275_c72f_a158_b275],
    },
    Helper {
        name: "relu",
        input_bits: 32,
        input: every,
        // NaN and -0 become +0.
        oracle: |x, y| equal(if f32::from_bits(x) > 0.0 { x } else { 0 }, y),
        routes: activation!(Relu),
        golden: [0x505c_c72d_39ea_fa8f, 0x9de0_e609_7646_cdf0, 0xd561_9478_f487_ab24],
    },
    Helper {
        name: "exp_nonpositive",
        input_bits: 31,
        // Finite numbers below 0. A score that is NaN, or a maximum of -inf, takes another way through attention.
        input: |i| (i | SIGN).min(f32::MIN.to_bits()),
        oracle: |x, y| exp_oracle(f32::from_bits(x), f32::from_bits(y)),
        routes: &[entry("merge", merge), entry("attend_f32", attend_f32)],
        golden: [0x9e11_585b_e45d_0318, 0x4072_9c09_9f54_fbfa, 0xaecd_6af7_18d7_2036],
    },
    Helper {
        name: "attention_weight",
        input_bits: 32,
        input: |i| if f32::from_bits(i) > MOST { 0 } else { i },
        oracle: |x, y| match f32::from_bits(x) {
            x if x.is_nan() => equal(0, y),
            x => exactly(x.clamp(0.0, MOST).round_ties_even() + 0.0, f32::from_bits(y)),
        },
        routes: &[entry("attend_i8", attend_i8)],
        golden: [0x08cd_4b99_ff3e_ba8f, 0x42b4_5be0_b4c7_c814, 0xd615_1c03_6acf_a9cd],
    },
    Helper {
        name: "quant",
        input_bits: 32,
        input: |i| if f32::from_bits(i).abs() > MOST { 0 } else { i },
        oracle: |x, y| match f32::from_bits(x) {
            x if x.is_nan() => equal(-i32::from(act::QUANT_MAX) as u32, y),
            x => equal(x.round_ties_even() as i32 as u32, y),
        },
        routes: &[
            plain("act::quantise_group", |_, x, y| quants(x, y, act::GROUP, |x, q| _ = act::quantise_group(x, q))),
            entry("quantise", quantise),
            entry("quantise_heads", |k, x, y| quants(x, y, 64, |x, q| (k.quantise_heads)(x, &mut [0.0], q))),
        ],
        golden: [0xdb95_798a_f5ba_8909, 0x4b32_5c5a_c738_4067, 0x75c0_ae7a_85b7_7dd8],
    },
    Helper {
        name: "quant_scale",
        input_bits: 32,
        input: every,
        oracle: |x, y| {
            let peak = f32::from_bits(x).abs();
            // Dividing in f64 and rounding once more is the same as dividing in f32.
            let scale = (f64::from(peak) / f64::from(act::QUANT_MAX)) as f32;
            exactly(if peak < act::TINY || peak.is_nan() { 0.0 } else { scale }, f32::from_bits(y))
        },
        routes: &[entry("quantise_heads", quant_scale)],
        golden: [0x7569_fd71_2456_aa4b, 0xa6cb_2ceb_e73c_a86f, 0x611e_c305_6eee_1621],
    },
    Helper {
        name: "f16_to_f32",
        input_bits: 16,
        input: every,
        oracle: |x, y| exactly(half(x as u16), f32::from_bits(y)),
        routes: &[plain("float::read_f16", read_f16), entry("matmul_f16", matmul_f16)],
        golden: [0x2f5c_6e6c_06d7_1678, 0x2f5c_6e6c_06d7_1678, 0x2f5c_6e6c_06d7_1678],
    },
    Helper {
        name: "f32_to_f16",
        input_bits: 32,
        input: every,
        oracle: |x, y| match f32::from_bits(x) {
            x if x.is_nan() => equal(HALF_NAN, y),
            x => equal(nearest_half(x), y),
        },
        routes: &[plain("float::write_f16", write_f16)],
        golden: [0xeac2_b51d_2b62_f709, 0x176f_788d_7e95_ef97, 0x3d4a_22a7_3748_e5e5],
    },
];

const SIGN: u32 = 1 << 31;
/// The largest quant and the largest weight.
const MOST: f32 = act::QUANT_MAX as f32;
/// What stands for every NaN: payloads and signs are outside the law.
const NAN: u32 = 0x7fc0_0000;
const HALF_NAN: u32 = 0x7e00;

fn every(i: u32) -> u32 {
    i
}

// Routes.

fn bits(y: f32) -> u32 {
    if y.is_nan() { NAN } else { y.to_bits() }
}

fn map(x: &[u32], y: &mut [u32], f: impl Fn(f32) -> f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = bits(f(f32::from_bits(*x)));
    }
}

fn floats(x: &[u32]) -> Vec<f32> {
    x.iter().map(|x| f32::from_bits(*x)).collect()
}

fn store(values: &[f32], y: &mut [u32]) {
    for (y, value) in y.iter_mut().zip(values) {
        *y = bits(*value);
    }
}

fn activate(kernels: &Kernels, f: Activation, x: &[u32], y: &mut [u32]) {
    let mut values = floats(x);
    (kernels.activate)(f, &mut values);
    store(&values, y);
}

fn activate_gated(kernels: &Kernels, f: Activation, x: &[u32], y: &mut [u32]) {
    let mut values = floats(x);
    (kernels.activate_gated)(f, &vec![1.0; x.len()], &mut values);
    store(&values, y);
}

/// The norm of one number `v` with epsilon `x` is `v / sqrt(v² + x)`. A power of two so small that `v² + x` is `x`, and so
/// large that nothing is subnormal, is taken off again without rounding.
fn rms_norm(kernels: &Kernels, x: &[u32], y: &mut [u32]) {
    let power = |n: i32| 2.0_f32.powi(n);
    for (y, x) in y.iter_mut().zip(x) {
        let eps = f32::from_bits(*x);
        let n = if eps < power(-40) { 75 } else { 33 };
        let mut out = [0.0];
        (kernels.rms_norm)(&[power(n)], eps, &[power(-n)], &mut out);
        *y = bits(out[0]);
    }
}

/// Merging a row with maximum `x` and sum 1 into one with maximum 0 and sum 0.
fn merge(kernels: &Kernels, x: &[u32], y: &mut [u32]) {
    let (n, mut later_max) = (x.len(), floats(x));
    let (mut later_sum, mut later_acc) = (vec![1.0; n], vec![1.0; n]);
    let (mut max, mut sum, mut acc) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let later = Partials { max: &mut later_max, sum: &mut later_sum, acc: &mut later_acc };
    (kernels.merge)(&later, &mut Partials { max: &mut max, sum: &mut sum, acc: &mut acc });
    assert!(sum.iter().zip(&acc).all(|(sum, acc)| sum.to_bits() == acc.to_bits()), "a sum and an accumulator of the same parts differ");
    store(&acc, y);
}

/// A head as large as a block, so that each position has a channel of its own.
const HEAD: usize = BLOCK;

/// The greatest score is position 0's, which is 0; the others have the scores `x` and a value of 1 in their own channel.
fn attend_f32(kernels: &Kernels, x: &[u32], y: &mut [u32]) {
    let (mut keys, mut values, mut query) = (vec![0.0; BLOCK * HEAD], vec![0.0; BLOCK * HEAD], vec![0.0; HEAD]);
    query[0] = 1.0;
    for p in 0..BLOCK {
        values[p * HEAD + p] = 1.0;
    }
    for (x, y) in x.chunks(BLOCK - 1).zip(y.chunks_mut(BLOCK - 1)) {
        for (key, x) in keys[HEAD..].chunks_exact_mut(HEAD).zip(x) {
            key[0] = f32::from_bits(*x);
        }
        let queries = QueriesF32 { values: &query, scale: 1.0, reach: &[Reach { start: 0, end: BLOCK }] };
        let (mut max, mut sum, mut acc) = ([0.0], [0.0], [0.0; HEAD]);
        let mut out = Partials { max: &mut max, sum: &mut sum, acc: &mut acc };
        (kernels.attend_f32)(&CacheF32 { head_dim: HEAD, keys: &keys, values: &values }, &queries, 0, &mut out);
        store(&acc[1..], y);
    }
}

/// Every score is 0. Position 0's scale makes the peak 127, so that the others' scales are what is rounded.
fn attend_i8(kernels: &Kernels, x: &[u32], y: &mut [u32]) {
    let (keys, mut values, query) = (vec![0; BLOCK * HEAD], vec![0; BLOCK * HEAD], [0; HEAD]);
    for p in 0..BLOCK {
        values[p * HEAD + p] = 1;
    }
    let values = contract::pack_values(HEAD, &values);
    let mut value_scales = [0.0; BLOCK];
    value_scales[0] = MOST;
    for (x, y) in x.chunks(BLOCK - 1).zip(y.chunks_mut(BLOCK - 1)) {
        for (scale, x) in value_scales[1..].iter_mut().zip(x) {
            *scale = f32::from_bits(*x);
        }
        let cache = CacheI8 { head_dim: HEAD, keys: &keys, key_scales: &[1.0; BLOCK], values: &values, value_scales: &value_scales };
        let queries = QueriesI8 { quants: &query, scales: &[1.0], reach: &[Reach { start: 0, end: BLOCK }] };
        let (mut max, mut sum, mut acc) = ([0.0], [0.0], [0.0; HEAD]);
        (kernels.attend_i8)(&cache, &queries, 0, &mut Partials { max: &mut max, sum: &mut sum, acc: &mut acc });
        store(&acc[1..], y);
    }
}

/// Quants of groups whose first number is 127, which makes the factor 1.
fn quants(x: &[u32], y: &mut [u32], group: usize, run: impl Fn(&[f32], &mut [i8])) {
    let (mut values, mut quants) = (vec![0.0; group], vec![0; group]);
    values[0] = MOST;
    for (x, y) in x.chunks(group - 1).zip(y.chunks_mut(group - 1)) {
        for (value, x) in values[1..].iter_mut().zip(x) {
            *value = f32::from_bits(*x);
        }
        run(&values, &mut quants);
        for (y, quant) in y.iter_mut().zip(&quants[1..]) {
            *y = i32::from(*quant) as u32;
        }
    }
}

fn quantise(kernels: &Kernels, x: &[u32], y: &mut [u32]) {
    quants(x, y, act::GROUP, |x, q| {
        let (mut scales, mut sums) = ([0.0; act::groups(act::GROUP)], [0; act::blocks(act::GROUP)]);
        (kernels.quantise)(x, &mut ActsMut::new(1, act::GROUP, q, &mut scales, &mut sums).expect("buffers made for this shape"));
    });
}

/// The scale of eight equal numbers.
fn quant_scale(kernels: &Kernels, x: &[u32], y: &mut [u32]) {
    let values: Vec<f32> = x.iter().flat_map(|x| [f32::from_bits(*x); 8]).collect();
    let (mut scales, mut quants) = (vec![0.0; x.len()], vec![0; values.len()]);
    (kernels.quantise_heads)(&values, &mut scales, &mut quants);
    store(&scales, y);
}

fn halves(x: &[u32]) -> Vec<u8> {
    x.iter().flat_map(|x| (*x as u16).to_le_bytes()).collect()
}

fn read_f16(_: &Kernels, x: &[u32], y: &mut [u32]) {
    let mut values = vec![0.0; x.len()];
    float::read_f16(&halves(x), &mut values);
    store(&values, y);
}

/// A column of weights times 1. A lane sum begins at +0 and so loses the sign of -0, which is put back.
fn matmul_f16(kernels: &Kernels, x: &[u32], y: &mut [u32]) {
    let (bytes, mut out) = (halves(x), vec![0.0; x.len()]);
    let w = Matrix::new(DType::F16, x.len(), 1, &bytes).expect("bytes made for this shape");
    (kernels.matmul_f16)(&w, &[1.0], &mut Outputs::new(x.len(), 1, &mut out).expect("room made for this shape"));
    store(&out, y);
    for (y, x) in y.iter_mut().zip(x) {
        *y = if *x == 0x8000 && *y == 0 { SIGN } else { *y };
    }
}

fn write_f16(_: &Kernels, x: &[u32], y: &mut [u32]) {
    let mut bytes = vec![0; 2 * x.len()];
    float::write_f16(&floats(x), &mut bytes);
    for (y, b) in y.iter_mut().zip(bytes.as_chunks().0) {
        let half = u32::from(u16::from_le_bytes(*b));
        *y = if half & 0x7fff > 0x7c00 { HALF_NAN } else { half };
    }
}

// Oracles: 0 is exact, 1 is as far as allowed.

fn allowed(holds: bool) -> f64 {
    if holds { 0.0 } else { f64::INFINITY }
}

fn equal(expected: u32, got: u32) -> f64 {
    allowed(expected == got)
}

fn exactly(expected: f32, got: f32) -> f64 {
    equal(bits(expected), bits(got))
}

/// Distance in representable steps from the exact value, rounded; NaN is as far from everything as from nothing.
fn steps_oracle(exact: f64, got: f32, most: u32) -> f64 {
    if exact.is_nan() || got.is_nan() {
        return allowed(exact.is_nan() && got.is_nan());
    }
    let order = |v: f32| {
        let bits = v.to_bits() as i32;
        if bits < 0 { i32::MIN.wrapping_sub(bits) } else { bits }
    };
    f64::from(order(exact as f32).abs_diff(order(got))) / f64::from(most)
}

fn exp_oracle(x: f32, y: f32) -> f64 {
    match x {
        x if x < math::EXP_FLUSH => exactly(0.0, y),
        x if x > 88.73 => exactly(f32::INFINITY, y),
        // The last steps before infinity may be there already.
        x if x > 88.72 => allowed(y > 3.38e38),
        x => steps_oracle(f64::from(x).exp(), y, 2),
    }
}

/// Beyond 2^20 only NaN is promised, for what is not finite.
fn circle_oracle(x: f32, exact: f64, y: f32) -> f64 {
    if x.abs() <= 1_048_576.0 || !x.is_finite() { steps_oracle(exact, y, 1) } else { allowed(!y.is_nan()) }
}

/// Half a step of a number in 1..2, as a share of it: what one rounding may do.
const ROUNDING: f64 = 1.0 / 16_777_216.0;
/// What one rounding may do to a subnormal number, twice.
const SUBNORMAL: f64 = f32::MIN_POSITIVE as f64 * 2.0 * ROUNDING;

/// `bound` for finite `x`; of others, what the limits are.
fn bounded(x: f32, y: f32, exact: f64, bound: f64, at_negative_infinity: f32) -> f64 {
    match x {
        x if x.is_nan() => allowed(y.is_nan()),
        f32::INFINITY => exactly(x, y),
        f32::NEG_INFINITY => exactly(at_negative_infinity, y),
        _ => (f64::from(y) - exact).abs() / (bound + SUBNORMAL),
    }
}

/// `exp` is wrong by 2 steps, that is 4 roundings; sum and quotient are rounded. Where `exp(-x)` is infinite, the result is 0.
fn silu_oracle(x: f32, y: f32) -> f64 {
    let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
    let bound = if x < -88.72 { 3e-37 } else { 0.0 };
    bounded(x, y, exact, bound + 6.0 * ROUNDING * (1.0 + 1e-6) * exact.abs(), f32::NAN)
}

/// The argument of `tanh` is wrong by 7 roundings at most (two products of the cube, a constant and its product, a sum, a constant
/// and its product), which moves `tanh` by less than 0.45 of that; `tanh` adds 2 steps below 1, the sum with 1 one rounding, and
/// so does the last product. Halving is exact.
fn gelu_tanh_oracle(x: f32, y: f32) -> f64 {
    let wide = f64::from(x);
    let exact = 0.5 * wide * (1.0 + ((2.0 / core::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide * wide * wide)).tanh());
    let bound = wide.abs() * (0.5 * (7.0 * 0.45 + 2.0 + 1.0) + 1.0) * ROUNDING;
    bounded(x, y, exact, bound * (1.0 + 1e-6), f32::NAN)
}

/// The argument of `erf` is wrong by 2 roundings (a constant and its product), which moves `erf` by less than 0.49 of that; the
/// rest as for [`gelu_tanh_oracle`].
fn gelu_erf_oracle(x: f32, y: f32) -> f64 {
    let wide = f64::from(x);
    let exact = 0.5 * wide * (1.0 + erf(wide * core::f64::consts::FRAC_1_SQRT_2));
    let bound = wide.abs() * (0.5 * (2.0 * 0.49 + 2.0 + 1.0) + 1.0) * ROUNDING;
    bounded(x, y, exact, bound * (1.0 + 1e-6), f32::NAN)
}

/// The series with positive terms only: no cancellation.
fn erf(x: f64) -> f64 {
    let x2 = x * x;
    if x2 > 36.0 {
        return 1.0_f64.copysign(x);
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        term *= 2.0 * x2 / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    core::f64::consts::FRAC_2_SQRT_PI * (-x2).exp() * sum
}

/// The value of an f16.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The f16 nearest to a number, ties to even.
fn nearest_half(x: f32) -> u32 {
    let sign = (x.to_bits() >> 16) & 0x8000;
    let magnitude = f64::from(x.abs());
    if magnitude >= 65_520.0 {
        return sign | 0x7c00;
    }
    // The step of an f16 between 2^e and 2^(e+1) is 2^(e-10), below 2^-14 as there.
    let exponent = (((x.to_bits() >> 23) & 255) as i32 - 127).max(-14);
    let quants = (magnitude * 2.0_f64.powi(10 - exponent)).round_ties_even() as u32;
    // 1,024 steps are the implicit bit, and a carry moves on into the exponent.
    sign | (quants + ((exponent + 14) as u32) * 1024)
}

// The runs.

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Inputs evaluated by each route.
    pub inputs: u64,
    /// Of the outputs of `scalar`.
    pub hash: u64,
    /// The furthest from the oracle, as a share of what is allowed, and its input.
    pub worst: (f64, u32),
    /// Departures: one for each route of each instruction set, or from the oracle.
    pub faults: Vec<String>,
}

/// Inputs evaluated together: a multiple of the hash's lanes and of 63.
const BATCH: u64 = 63 * 64;
/// Batches hashed together.
const BATCHES: u64 = 256;

/// FNV-1a by words instead of bytes.
fn fold(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(fnv::PRIME)
}

impl Helper {
    /// The hash that every machine gives for every `step`th input, if it is written down.
    #[must_use]
    pub fn golden(&self, step: u64) -> Option<u64> {
        let place = if self.input_bits < 32 - 1 { 0 } else { STEPS.iter().position(|s| *s == step)? };
        Some(self.golden[place])
    }

    /// The names of the routes.
    pub fn routes(&self) -> impl Iterator<Item = &'static str> {
        self.routes.iter().map(|route| route.name)
    }

    /// Evaluates every `step`th input (of few inputs, all) by every route of every table, on `threads` threads.
    #[must_use]
    pub fn run(&self, tables: &[&Kernels], step: u64, threads: usize) -> Report {
        let step = if self.input_bits < 32 - 1 { 1 } else { step };
        let inputs = (1_u64 << self.input_bits).div_ceil(step);
        let chunk = BATCH * BATCHES;
        let next = AtomicU64::new(0);
        let chunks: Mutex<Vec<(u64, Report)>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let start = next.fetch_add(chunk, Ordering::Relaxed);
                        if start >= inputs {
                            break;
                        }
                        let indices = (start..(start + chunk).min(inputs)).map(|i| (i * step) as u32);
                        let report = self.evaluate(tables, indices.map(self.input));
                        chunks.lock().expect("no thread panics").push((start, report));
                    }
                });
            }
        });
        let mut chunks = chunks.into_inner().expect("no thread panicked");
        chunks.sort_by_key(|(start, _)| *start);
        let mut report = Report { hash: fnv::START, ..Report::default() };
        for (_, chunk) in chunks {
            report.inputs += chunk.inputs;
            report.hash = fold(report.hash, chunk.hash);
            report.worst = if chunk.worst.0 > report.worst.0 { chunk.worst } else { report.worst };
            if report.faults.is_empty() {
                report.faults = chunk.faults;
            }
        }
        report
    }

    /// Evaluates what lies around numbers where something changes.
    #[must_use]
    pub fn run_edges(&self, tables: &[&Kernels]) -> Report {
        let centres = [
            0.0,
            1e-30,
            0.5,
            0.6,
            1.0,
            1.5,
            2.5,
            4.0,
            9.02,
            63.5,
            87.3,
            88.0,
            88.72,
            89.0,
            126.5,
            127.0,
            65_504.0,
            65_520.0,
            1_048_576.0,
            1e30,
        ];
        let bits = centres.into_iter().map(f32::to_bits).chain([0x0080_0000, 0x3300_0000, 0x3880_0000, 0x7f7f_ffff, 0x7f80_0000, NAN]);
        let around = bits.flat_map(|bits| (0..64).map(move |i| bits.wrapping_add(i).wrapping_sub(32)));
        let inputs = around.flat_map(|bits| [bits, bits ^ SIGN]).map(|bits| (self.input)(bits & (u32::MAX >> (32 - self.input_bits))));
        self.evaluate(tables, inputs)
    }

    /// Evaluates a chunk.
    fn evaluate(&self, tables: &[&Kernels], mut inputs: impl Iterator<Item = u32>) -> Report {
        let mut report = Report::default();
        let mut lanes = [fnv::START; 8];
        let (mut x, mut expected, mut got) = (Vec::new(), Vec::new(), Vec::new());
        let oracle = tables[0];
        loop {
            x.clear();
            x.extend(inputs.by_ref().take(BATCH as usize));
            if x.is_empty() {
                break;
            }
            report.inputs += x.len() as u64;
            expected.resize(x.len(), 0);
            got.resize(x.len(), 0);
            (self.routes[0].run)(oracle, &x, &mut expected);
            for (i, (x, y)) in x.iter().zip(&expected).enumerate() {
                lanes[i % 8] = fold(lanes[i % 8], u64::from(*y));
                let share = (self.oracle)(*x, *y);
                if share > report.worst.0 || share.is_nan() {
                    report.worst = (share, *x);
                }
            }
            for (r, route) in self.routes.iter().enumerate() {
                let tables = if route.is_entry { tables } else { &tables[..1] };
                // The first route of the first table is what the others are compared with.
                for table in &tables[usize::from(r == 0)..] {
                    (route.run)(table, &x, &mut got);
                    if let Some(i) = expected.iter().zip(&got).position(|(expected, got)| expected != got) {
                        let place = format!("{} of {}", route.name, table.isa);
                        if !report.faults.iter().any(|fault| fault.starts_with(&place)) {
                            report.faults.push(format!("{place}: at {}: expected {:08x}, got {:08x}", show(x[i]), expected[i], got[i]));
                        }
                    }
                }
            }
        }
        if report.worst.0 > 1.0 || report.worst.0.is_nan() {
            let (share, x) = report.worst;
            report.faults.push(format!("oracle: at {}: {share} of what is allowed", show(x)));
        }
        report.hash = lanes.into_iter().fold(fnv::START, fold);
        report
    }
}

/// An input for people.
fn show(bits: u32) -> String {
    format!("{bits:08x} ({:e})", f32::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet::isa::Isa;

    /// A departure of one bit at one input, of a table or from the oracle, must be seen.
    #[test]
    fn a_wrong_helper_is_seen() {
        fn wrong(f: Activation, x: &mut [f32]) {
            let scalar = Kernels::select(Isa::Scalar).expect("every machine has it");
            let at = x.iter().position(|x| *x == 1.5);
            (scalar.activate)(f, x);
            if let Some(at) = at {
                x[at] = x[at].next_up();
            }
        }
        let scalar = Kernels::select(Isa::Scalar).expect("every machine has it");
        let bad = Kernels { activate: wrong, ..*scalar };
        let silu = HELPERS.iter().find(|helper| helper.name == "silu").expect("a helper");
        assert!(silu.run_edges(&[scalar, scalar]).faults.is_empty());
        let faults = silu.run_edges(&[scalar, &bad]).faults;
        assert!(faults.len() == 1 && faults[0].starts_with("activate of scalar: at 3fc00000 (1.5e0): expected"), "{faults:?}");

        let far = Helper { oracle: |x, y| exactly(f32::from_bits(x), f32::from_bits(y)), routes: silu.routes, ..*silu };
        assert!(far.run_edges(&[scalar]).faults[0].starts_with("oracle: "));
    }

    #[test]
    fn halves_are_where_they_should_be() {
        for (value, bits) in
            [(1.0, 0x3c00), (-2.0, 0xc000), (65_504.0, 0x7bff), (65_519.9, 0x7bff), (65_520.0, 0x7c00), (6e-8, 1), (0.0, 0)]
        {
            assert_eq!(nearest_half(value), bits, "{value}");
        }
        assert_eq!(half(0x3555), 0.333_251_95);
        assert_eq!(half(0x8001), -2.0_f32.powi(-24));
    }
}
