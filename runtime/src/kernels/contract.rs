//! The contract of a table: every entry gives the bits of `scalar`, for every class of shape and for extremes.
//!
//! The tests of this crate hold every table of the machine to it, and `kinglet selftest` does so where it runs. It
//! asks for equality only; what the numbers *mean* is tested once, on `scalar`, against f64.
//!
//! Two floats agree if their bits are equal or both are NaN: which NaN an operation makes depends on the machine.
//! Inputs are laid at odd addresses, outputs between guards.
//!
//! ```
//! use kinglet::kernels::{Kernels, contract};
//! contract::check(Kernels::best(), |entry, outcome| println!("{entry}: {outcome:?}"));
//! ```

#[cfg(test)]
mod exact;

use super::attention::{BLOCK, CacheF32, CacheI8, MAX_HEAD_DIM, Partials, QueriesF32, QueriesI8, Reach, SPAN};
use super::{Activation, Kernels, scalar};
use crate::tensor::{Acts, ActsMut, Matrix, Outputs};
use core::fmt;
use kinglet_quant::{BLOCK as QUANT_BLOCK, DType, LANES, act, q4, q8};

/// The first place where a table departs from `scalar`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Shape and kind of input.
    pub case: String,
    /// What differs there.
    pub difference: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.difference)
    }
}

impl core::error::Error for Mismatch {}

/// Cases passed, or the first that did not.
pub type Outcome = Result<usize, Mismatch>;

/// Holds every entry of `kernels` against `scalar` and reports each by its name.
pub fn check(kernels: &Kernels, mut report: impl FnMut(&'static str, Outcome)) {
    report("quantise", quantise(kernels));
    report("quantise_heads", quantise_heads(kernels));
    report("subtract", subtract(kernels));
    report("matmul_q4", matmul_quantised(kernels, DType::Q4));
    report("matmul_q8", matmul_quantised(kernels, DType::Q8));
    report("matmul_f16", matmul_float(kernels, DType::F16));
    report("matmul_f32", matmul_float(kernels, DType::F32));
    report("rms_norm", norms(kernels, false));
    report("layer_norm", norms(kernels, true));
    report("rope", rope(kernels));
    report("activate", activate(kernels));
    report("activate_gated", activate_gated(kernels));
    report("add", add(kernels));
    report("attend_i8", attend_i8(kernels));
    report("attend_f32", attend_f32(kernels));
    report("merge", merge(kernels));
}

const ROWS: [usize; 6] = [1, 7, 8, 9, 64, 200];
const COLS: [usize; 14] = [1, 8, 31, 32, 33, 63, 64, 65, 96, 128, 192, 320, 576, 1536];
const TOKENS: [usize; 9] = [0, 1, 2, 3, 4, 5, 7, 8, 33];

/// A seeded generator (SplitMix64), so that a case is the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In -1..1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// In -127..=127.
    pub(crate) fn quant(&mut self) -> i8 {
        (self.below(255) as i32 - 127) as i8
    }

    /// Mostly tame, sometimes as nasty as a float can be.
    fn nasty(&mut self) -> f32 {
        const NASTY: [f32; 16] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            88.0,
            -88.0,
            -104.0,
            1e30,
            -1e30,
            1e-38,
            1e-45,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        match self.below(4) {
            0 => NASTY[self.below(NASTY.len())],
            1 => self.float() * 100.0,
            _ => self.float(),
        }
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    pub(crate) fn quants(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| self.quant()).collect()
    }
}

/// A buffer whose payload starts at an odd place and lies between guards.
struct Guarded<T> {
    buffer: Vec<T>,
    guard: T,
    len: usize,
}

impl<T: Copy + PartialEq> Guarded<T> {
    const BEFORE: usize = 1;
    const AFTER: usize = 37;

    fn new(guard: T, len: usize) -> Self {
        Self { buffer: vec![guard; Self::BEFORE + len + Self::AFTER], guard, len }
    }

    fn of(guard: T, values: &[T]) -> Self {
        let mut guarded = Self::new(guard, values.len());
        guarded.payload_mut().copy_from_slice(values);
        guarded
    }

    fn payload(&self) -> &[T] {
        &self.buffer[Self::BEFORE..][..self.len]
    }

    fn payload_mut(&mut self) -> &mut [T] {
        &mut self.buffer[Self::BEFORE..][..self.len]
    }

    fn guards_hold(&self) -> bool {
        let (before, rest) = self.buffer.split_at(Self::BEFORE);
        before.iter().chain(&rest[self.len..]).all(|v| *v == self.guard)
    }
}

/// No kernel can make it by chance: the value that stands where nothing was written.
const GUARD: f32 = 1.234_567_9e33;

fn same_floats(expected: &Guarded<f32>, got: &Guarded<f32>) -> Result<(), String> {
    if !got.guards_hold() {
        return Err(String::from("written outside the output"));
    }
    for (i, (e, g)) in expected.payload().iter().zip(got.payload()).enumerate() {
        if e.to_bits() != g.to_bits() && !(e.is_nan() && g.is_nan()) {
            return Err(format!("at {i}: expected {e:e} ({:08x}), got {g:e} ({:08x})", e.to_bits(), g.to_bits()));
        }
    }
    Ok(())
}

fn same<T: Copy + PartialEq + fmt::Debug>(expected: &Guarded<T>, got: &Guarded<T>) -> Result<(), String> {
    if !got.guards_hold() {
        return Err(String::from("written outside the output"));
    }
    match expected.payload().iter().zip(got.payload()).position(|(e, g)| e != g) {
        Some(i) => Err(format!("at {i}: expected {:?}, got {:?}", expected.payload()[i], got.payload()[i])),
        None => Ok(()),
    }
}

fn named(case: impl Fn() -> String) -> impl Fn(String) -> Mismatch {
    move |difference| Mismatch { case: case(), difference }
}

/// What a quantised product is fed with.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Every bit random; some row scales NaN, infinite or zero.
    Random,
    /// The largest weights, scales and minima against the largest activations of one sign.
    Positive,
    /// Likewise against the other sign.
    Negative,
    /// The lowest signed weights, which no quantiser makes, against the largest activations.
    Lowest,
    /// Nothing but zeros.
    Zero,
}

const KINDS: [Kind; 5] = [Kind::Random, Kind::Positive, Kind::Negative, Kind::Lowest, Kind::Zero];

/// The bytes of a quantised matrix: also its padding is filled, which must not matter.
fn weights(random: &mut Random, dtype: DType, kind: Kind, rows: usize, cols: usize) -> Vec<u8> {
    let (tile_bytes, head) = match dtype {
        DType::Q4 => (q4::tile_bytes(cols), q4::HEAD_BYTES),
        _ => (q8::tile_bytes(cols), q8::HEAD_BYTES),
    };
    let tile_bytes = tile_bytes.unwrap_or_default();
    let mut bytes = vec![0; tile_bytes * rows.div_ceil(LANES)];
    for tile in bytes.chunks_exact_mut(tile_bytes) {
        let (head, units) = tile.split_at_mut(head);
        for scale in head.chunks_exact_mut(4) {
            let value = match random.below(16) {
                0 => random.nasty(),
                _ => random.float() * 1e-3,
            };
            scale.copy_from_slice(&value.to_le_bytes());
        }
        let unit_bytes = if dtype == DType::Q4 { q4::UNIT_BYTES } else { q8::UNIT_BYTES };
        for (i, byte) in units.iter_mut().enumerate() {
            let signed = dtype == DType::Q8 && i % unit_bytes < q8::QUANT_BYTES;
            *byte = match (kind, signed) {
                (Kind::Random, false) => random.next() as u8,
                // -128 is not written by the quantiser, and another's file may hold it.
                (Kind::Random, true) => random.next() as u8,
                (Kind::Positive | Kind::Negative | Kind::Lowest, false) => u8::MAX,
                (Kind::Lowest, true) => i8::MIN as u8,
                (Kind::Positive | Kind::Negative, true) => q8::QUANT_MAX as u8,
                (Kind::Zero, _) => 0,
            };
        }
    }
    bytes
}

/// Room for quantised activations.
pub(crate) struct ActsBuffer {
    quants: Guarded<i8>,
    scales: Guarded<f32>,
    sums: Guarded<i16>,
    cols: usize,
    tokens: usize,
}

impl ActsBuffer {
    pub(crate) fn new(tokens: usize, cols: usize) -> Self {
        Self {
            quants: Guarded::new(i8::MIN, tokens * act::padded(cols)),
            scales: Guarded::new(GUARD, tokens * act::groups(cols)),
            sums: Guarded::new(i16::MIN, tokens * act::blocks(cols)),
            cols,
            tokens,
        }
    }

    pub(crate) fn room(&mut self) -> ActsMut<'_> {
        let (q, s, b) = (self.quants.payload_mut(), self.scales.payload_mut(), self.sums.payload_mut());
        ActsMut::new(self.tokens, self.cols, q, s, b).expect("buffers made for this shape")
    }

    fn fill(random: &mut Random, kind: Kind, tokens: usize, cols: usize) -> Self {
        let mut buffer = Self::new(tokens, cols);
        for (quants, scales, sums) in buffer.room().rows() {
            for q in &mut quants[..cols] {
                *q = match kind {
                    Kind::Random => random.quant(),
                    Kind::Positive | Kind::Lowest => act::QUANT_MAX,
                    Kind::Negative => -act::QUANT_MAX,
                    Kind::Zero => 0,
                };
            }
            quants[cols..].fill(0);
            scales.fill_with(|| if random.below(32) == 0 { random.nasty() } else { random.float() * 0.01 });
            for (sum, quants) in sums.iter_mut().zip(quants.chunks_exact(QUANT_BLOCK)) {
                *sum = quants.iter().map(|q| i16::from(*q)).sum();
            }
        }
        buffer
    }
}

/// Runs a product twice, whole by `scalar` and in three parts by the table under test.
fn compare_products(
    random: &mut Random,
    rows: usize,
    tokens: usize,
    oracle: impl Fn(&mut Outputs<'_>),
    tested: impl Fn(&mut Outputs<'_>),
) -> Result<(), String> {
    let mut expected = Guarded::new(GUARD, rows * tokens);
    let mut got = Guarded::new(GUARD, rows * tokens);
    let outputs = |buffer| Outputs::new(rows, tokens, buffer).expect("a buffer made for this shape");
    oracle(&mut outputs(expected.payload_mut()));

    let tiles = rows.div_ceil(LANES);
    let (first, rest) = outputs(got.payload_mut()).split(random.below(tiles + 1));
    let (second, third) = rest.split(random.below(tiles + 1));
    for mut part in [third, first, second] {
        tested(&mut part);
    }
    same_floats(&expected, &got)
}

fn matmul_quantised(kernels: &Kernels, dtype: DType) -> Outcome {
    let (oracle, tested) = match dtype {
        DType::Q4 => (scalar::KERNELS.matmul_q4, kernels.matmul_q4),
        _ => (scalar::KERNELS.matmul_q8, kernels.matmul_q8),
    };
    let mut random = Random::new(1 + dtype as u64);
    let mut cases = 0;
    for rows in ROWS {
        for cols in COLS {
            // Extremes differ by the columns only: the largest shapes need them once.
            for kind in KINDS.into_iter().take(if rows > 9 { 1 } else { KINDS.len() }) {
                let bytes = Guarded::of(0xee, &weights(&mut random, dtype, kind, rows, cols));
                let w = Matrix::new(dtype, rows, cols, bytes.payload()).expect("bytes made for this shape");
                for tokens in TOKENS {
                    let mut buffer = ActsBuffer::fill(&mut random, kind, tokens, cols);
                    let room = buffer.room();
                    let x: Acts<'_> = room.view();
                    compare_products(&mut random, rows, tokens, |out| oracle(&w, &x, out), |out| tested(&w, &x, out))
                        .map_err(named(|| format!("{dtype} {rows} x {cols}, {tokens} tokens, {kind:?}")))?;
                    cases += 1;
                }
            }
        }
    }
    // More vectors than a kernel walks in one go, and tokens whose two terms may fall apart.
    let (rows, cols, vectors, terms) = (9, 1536, 262, 2);
    let bytes = Guarded::of(0xee, &weights(&mut random, dtype, Kind::Random, rows, cols));
    let w = Matrix::new(dtype, rows, cols, bytes.payload()).expect("bytes made for this shape");
    let mut buffer = ActsBuffer::fill(&mut random, Kind::Random, vectors, cols);
    let room = buffer.room();
    let x: Acts<'_> = room.view();
    let run = |product: fn(&Matrix<'_>, &Acts<'_>, &mut Outputs<'_>)| {
        let mut out = Guarded::new(GUARD, vectors / terms * rows);
        let mut outputs = Outputs::sums(rows, vectors / terms, terms, out.payload_mut()).expect("a fitting buffer");
        product(&w, &x, &mut outputs);
        out
    };
    same_floats(&run(oracle), &run(tested)).map_err(named(|| format!("{dtype} {rows} x {cols}, {vectors} vectors in {terms} terms")))?;
    Ok(cases + 1)
}

fn matmul_float(kernels: &Kernels, dtype: DType) -> Outcome {
    let (oracle, tested) = match dtype {
        DType::F16 => (scalar::KERNELS.matmul_f16, kernels.matmul_f16),
        _ => (scalar::KERNELS.matmul_f32, kernels.matmul_f32),
    };
    let mut random = Random::new(3 + dtype as u64);
    let mut cases = 0;
    for rows in ROWS {
        for cols in COLS {
            for (kind, is_nasty) in [("tame", false), ("nasty", true)] {
                let bytes: Vec<u8> = match dtype {
                    // Any 16 bits are an f16; nasty ones include every kind of number.
                    DType::F16 if is_nasty => (0..2 * rows * cols).map(|_| random.next() as u8).collect(),
                    DType::F16 => (0..rows * cols).flat_map(|_| half::f16::from_f32(random.float()).to_le_bytes()).collect(),
                    _ if is_nasty => (0..rows * cols).flat_map(|_| random.nasty().to_le_bytes()).collect(),
                    _ => (0..rows * cols).flat_map(|_| random.float().to_le_bytes()).collect(),
                };
                let bytes = Guarded::of(0xee, &bytes);
                let w = Matrix::new(dtype, rows, cols, bytes.payload()).expect("bytes made for this shape");
                for tokens in [1, 2, 3, 8] {
                    let x = Guarded::of(GUARD, &random.floats(tokens * cols));
                    let x = x.payload();
                    compare_products(&mut random, rows, tokens, |out| oracle(&w, x, out), |out| tested(&w, x, out))
                        .map_err(named(|| format!("{dtype} {rows} x {cols}, {tokens} tokens, {kind}")))?;
                    cases += 1;
                }
            }
        }
    }
    Ok(cases)
}

/// Inputs that quantising must get right.
const QUANTISED: [&str; 5] = ["tame", "nasty", "tiny", "zero", "halves"];

fn to_quantise(random: &mut Random, kind: &str, len: usize) -> Guarded<f32> {
    let value = |i: usize| match kind {
        "tame" => random.float(),
        "nasty" => random.nasty(),
        "tiny" => random.float() * 2.0 * act::TINY,
        "zero" => 0.0,
        // The group's peak is 127, so that every other value lies between two quants.
        _ if i.is_multiple_of(2) => 127.0,
        _ => f32::from(random.quant()) + 0.5,
    };
    Guarded::of(GUARD, &(0..len).map(value).collect::<Vec<_>>())
}

fn quantise(kernels: &Kernels) -> Outcome {
    let mut random = Random::new(7);
    let mut cases = 0;
    for cols in COLS {
        for tokens in [1, 3] {
            for kind in QUANTISED {
                let x = to_quantise(&mut random, kind, tokens * cols);
                let (mut expected, mut got) = (ActsBuffer::new(tokens, cols), ActsBuffer::new(tokens, cols));
                (scalar::KERNELS.quantise)(x.payload(), &mut expected.room());
                (kernels.quantise)(x.payload(), &mut got.room());
                same(&expected.quants, &got.quants)
                    .and(same(&expected.sums, &got.sums))
                    .and(same_floats(&expected.scales, &got.scales))
                    .map_err(named(|| format!("{tokens} x {cols}, {kind}")))?;
                cases += 1;
            }
        }
    }
    Ok(cases)
}

fn quantise_heads(kernels: &Kernels) -> Outcome {
    let mut random = Random::new(37);
    let mut cases = 0;
    for head_dim in (8..=MAX_HEAD_DIM).step_by(8) {
        for heads in [1, 3] {
            for kind in QUANTISED {
                let x = to_quantise(&mut random, kind, heads * head_dim);
                let run = |kernels: &Kernels| {
                    let (mut scales, mut quants) = (Guarded::new(GUARD, heads), Guarded::new(i8::MIN, heads * head_dim));
                    (kernels.quantise_heads)(x.payload(), scales.payload_mut(), quants.payload_mut());
                    (scales, quants)
                };
                let (expected, got) = (run(&scalar::KERNELS), run(kernels));
                same_floats(&expected.0, &got.0)
                    .and(same(&expected.1, &got.1))
                    .map_err(named(|| format!("{heads} heads of {head_dim}, {kind}")))?;
                cases += 1;
            }
        }
    }
    Ok(cases)
}

fn subtract(kernels: &Kernels) -> Outcome {
    elementwise(41, |random, len, make| {
        for tokens in [1, 2] {
            let x = make(random, tokens * len);
            let mut acts = ActsBuffer::fill(random, Kind::Random, tokens, len);
            let room = acts.room();
            let run = |kernels: &Kernels| {
                let mut x = Guarded::of(GUARD, x.payload());
                (kernels.subtract)(&room.view(), x.payload_mut());
                x
            };
            same_floats(&run(&scalar::KERNELS), &run(kernels))?;
        }
        Ok(())
    })
}

/// Runs `case` for every length, tame and nasty.
fn elementwise(
    seed: u64,
    mut case: impl FnMut(&mut Random, usize, &dyn Fn(&mut Random, usize) -> Guarded<f32>) -> Result<(), String>,
) -> Outcome {
    let mut random = Random::new(seed);
    let tame = |random: &mut Random, n: usize| Guarded::of(GUARD, &random.floats(n));
    let nasty = |random: &mut Random, n: usize| Guarded::of(GUARD, &(0..n).map(|_| random.nasty()).collect::<Vec<_>>());
    let mut cases = 0;
    for len in COLS.into_iter().chain(1..40) {
        case(&mut random, len, &tame).map_err(named(|| format!("length {len}, tame")))?;
        case(&mut random, len, &nasty).map_err(named(|| format!("length {len}, nasty")))?;
        cases += 2;
    }
    Ok(cases)
}

fn norms(kernels: &Kernels, layer: bool) -> Outcome {
    elementwise(11, |random, len, make| {
        let (weight, bias, x) = (make(random, len), make(random, len), make(random, len));
        let run = |kernels: &Kernels| {
            let mut out = Guarded::new(GUARD, len);
            if layer {
                (kernels.layer_norm)(weight.payload(), bias.payload(), 1e-5, x.payload(), out.payload_mut());
            } else {
                (kernels.rms_norm)(weight.payload(), 1e-5, x.payload(), out.payload_mut());
            }
            out
        };
        same_floats(&run(&scalar::KERNELS), &run(kernels))
    })
}

fn rope(kernels: &Kernels) -> Outcome {
    elementwise(13, |random, len, make| {
        let (cos, sin) = (make(random, len), make(random, len));
        let rest = random.below(9);
        let x = make(random, 2 * len + rest);
        let run = |kernels: &Kernels| {
            let mut x = Guarded::of(GUARD, x.payload());
            (kernels.rope)(cos.payload(), sin.payload(), x.payload_mut());
            x
        };
        same_floats(&run(&scalar::KERNELS), &run(kernels))
    })
}

const ACTIVATIONS: [Activation; 4] = [Activation::Silu, Activation::GeluTanh, Activation::GeluErf, Activation::Relu];

fn activate(kernels: &Kernels) -> Outcome {
    elementwise(17, |random, len, make| {
        let x = make(random, len);
        ACTIVATIONS.into_iter().try_for_each(|f| {
            let run = |kernels: &Kernels| {
                let mut x = Guarded::of(GUARD, x.payload());
                (kernels.activate)(f, x.payload_mut());
                x
            };
            same_floats(&run(&scalar::KERNELS), &run(kernels)).map_err(|difference| format!("{f:?} {difference}"))
        })
    })
}

fn activate_gated(kernels: &Kernels) -> Outcome {
    elementwise(19, |random, len, make| {
        let (up, gate) = (make(random, len), make(random, len));
        ACTIVATIONS.into_iter().try_for_each(|f| {
            let run = |kernels: &Kernels| {
                let mut gate = Guarded::of(GUARD, gate.payload());
                (kernels.activate_gated)(f, up.payload(), gate.payload_mut());
                gate
            };
            same_floats(&run(&scalar::KERNELS), &run(kernels)).map_err(|difference| format!("{f:?} {difference}"))
        })
    })
}

fn add(kernels: &Kernels) -> Outcome {
    elementwise(23, |random, len, make| {
        let (x, y) = (make(random, len), make(random, len));
        let run = |kernels: &Kernels| {
            let mut y = Guarded::of(GUARD, y.payload());
            (kernels.add)(x.payload(), y.payload_mut());
            y
        };
        same_floats(&run(&scalar::KERNELS), &run(kernels))
    })
}

/// Packs a block's keys or values, `[BLOCK][head_dim]` row by row, into the layout of the int8 keys.
#[must_use]
pub fn pack_keys(head_dim: usize, block: &[i8]) -> Vec<i8> {
    let mut packed = vec![0; BLOCK * head_dim];
    for (p, key) in block.chunks_exact(head_dim).enumerate() {
        for (c, value) in key.iter().enumerate() {
            packed[(p / LANES) * LANES * head_dim + (c / 4) * 4 * LANES + (p % LANES) * 4 + c % 4] = *value;
        }
    }
    packed
}

/// Packs a block's values, `[BLOCK][head_dim]` row by row, into the layout of the int8 values.
#[must_use]
pub fn pack_values(head_dim: usize, block: &[i8]) -> Vec<i8> {
    let mut packed = vec![0; BLOCK * head_dim];
    for (p, value) in block.chunks_exact(head_dim).enumerate() {
        for (c, value) in value.iter().enumerate() {
            packed[(c / LANES) * LANES * BLOCK + (p / 4) * 4 * LANES + (c % LANES) * 4 + p % 4] = *value;
        }
    }
    packed
}

/// Ranges that begin, end and lie everywhere in blocks and spans, for `rows` rows and `positions` positions.
pub(crate) fn reaches(random: &mut Random, rows: usize, positions: usize) -> Vec<Reach> {
    let causal = |row: usize| Reach { start: 0, end: positions - (rows - 1 - row).min(positions) };
    (0..rows)
        .map(|row| match random.below(8) {
            0 => Reach { start: 0, end: 0 },
            1 => Reach { start: positions - 1, end: positions },
            2 => {
                let (a, b) = (random.below(positions + 1), random.below(positions + 1));
                Reach { start: a.min(b), end: a.max(b) }
            }
            3 => Reach { start: random.below(positions), end: positions },
            _ => causal(row),
        })
        .collect()
}

/// Runs one span by both tables and compares the three parts.
fn compare_partials(
    rows: usize,
    head_dim: usize,
    oracle: impl Fn(&mut Partials<'_>),
    tested: impl Fn(&mut Partials<'_>),
) -> Result<(), String> {
    let make = || (Guarded::new(GUARD, rows), Guarded::new(GUARD, rows), Guarded::new(GUARD, rows * head_dim));
    compare_partials_in(make(), make(), oracle, tested)
}

/// Maxima, sums and accumulators of some rows.
type Parts = (Guarded<f32>, Guarded<f32>, Guarded<f32>);

/// Runs both tables, each on its own copy of the same parts, and compares these.
fn compare_partials_in(
    mut expected: Parts,
    mut got: Parts,
    oracle: impl Fn(&mut Partials<'_>),
    tested: impl Fn(&mut Partials<'_>),
) -> Result<(), String> {
    for (parts, run) in [(&mut expected, &oracle as &dyn Fn(&mut Partials<'_>)), (&mut got, &tested)] {
        run(&mut partials(parts));
    }
    same_floats(&expected.0, &got.0).map_err(|difference| format!("max {difference}"))?;
    same_floats(&expected.1, &got.1).map_err(|difference| format!("sum {difference}"))?;
    same_floats(&expected.2, &got.2).map_err(|difference| format!("acc {difference}"))
}

fn partials(parts: &mut Parts) -> Partials<'_> {
    Partials { max: parts.0.payload_mut(), sum: parts.1.payload_mut(), acc: parts.2.payload_mut() }
}

/// Positions of a test; blocks of storage, fewer where the cache wraps.
const LENGTHS: [(usize, usize); 7] = [(1, 1), (63, 1), (64, 1), (65, 2), (200, 3), (SPAN + 90, 10), (300, 2)];
const QUERY_ROWS: [usize; 8] = [1, 2, 3, 4, 5, 8, 9, 32];

fn attend_i8(kernels: &Kernels) -> Outcome {
    let mut random = Random::new(29);
    let mut cases = 0;
    for head_dim in [8, 16, 40, 64, 80, 128, 256] {
        for (positions, stored) in LENGTHS {
            for kind in KINDS {
                let len = stored * BLOCK * head_dim;
                let mut quants = |len: usize| -> Guarded<i8> {
                    let values: Vec<i8> = match kind {
                        Kind::Random => random.quants(len),
                        Kind::Positive | Kind::Lowest => vec![127; len],
                        Kind::Negative => vec![-127; len],
                        Kind::Zero => vec![0; len],
                    };
                    Guarded::of(i8::MIN, &values)
                };
                let (keys, values) = (quants(len), quants(len));
                let mut scales = |size: f32| {
                    let make = |_| if random.below(64) == 0 { random.nasty() } else { random.float() * size };
                    Guarded::of(GUARD, &(0..stored * BLOCK).map(make).collect::<Vec<_>>())
                };
                let (key_scales, value_scales) = (scales(1e-2), scales(1.0));
                let cache = CacheI8 {
                    head_dim,
                    keys: keys.payload(),
                    key_scales: key_scales.payload(),
                    values: values.payload(),
                    value_scales: value_scales.payload(),
                };
                for rows in QUERY_ROWS {
                    let sign = if matches!(kind, Kind::Negative) { -1 } else { 1 };
                    let quants: Vec<i8> = match kind {
                        Kind::Random => random.quants(rows * head_dim),
                        _ => vec![127 * sign; rows * head_dim],
                    };
                    let quants = Guarded::of(i8::MIN, &quants);
                    let scales = Guarded::of(GUARD, &random.floats(rows));
                    let reach = reaches(&mut random, rows, positions);
                    let queries = QueriesI8 { quants: quants.payload(), scales: scales.payload(), reach: &reach };
                    for span in 0..=positions.div_ceil(SPAN) {
                        compare_partials(
                            rows,
                            head_dim,
                            |out| (scalar::KERNELS.attend_i8)(&cache, &queries, span, out),
                            |out| (kernels.attend_i8)(&cache, &queries, span, out),
                        )
                        .map_err(named(|| format!("head {head_dim}, {rows} rows, {positions} positions, span {span}, {kind:?}")))?;
                        cases += 1;
                    }
                }
            }
        }
    }
    // Queries of 0 give every position the same score, and these value scales lie between two weights: ties are rounded.
    let (head_dim, positions) = (16, 2 * BLOCK);
    let quants = random.quants(2 * positions * head_dim);
    let (keys, values) = quants.split_at(positions * head_dim);
    let (key_scales, value_scales) = (random.floats(positions), to_quantise(&mut random, "halves", positions));
    let cache = CacheI8 { head_dim, keys, key_scales: &key_scales, values, value_scales: value_scales.payload() };
    for rows in QUERY_ROWS {
        let (quants, scales) = (vec![0; rows * head_dim], random.floats(rows));
        let reach = vec![Reach { start: 0, end: positions }; rows];
        let queries = QueriesI8 { quants: &quants, scales: &scales, reach: &reach };
        compare_partials(
            rows,
            head_dim,
            |out| (scalar::KERNELS.attend_i8)(&cache, &queries, 0, out),
            |out| (kernels.attend_i8)(&cache, &queries, 0, out),
        )
        .map_err(named(|| format!("{rows} rows, weights between two numbers")))?;
        cases += 1;
    }
    Ok(cases)
}

fn attend_f32(kernels: &Kernels) -> Outcome {
    let mut random = Random::new(31);
    let mut cases = 0;
    for head_dim in [1, 8, 20, 64, 256] {
        for (positions, stored) in LENGTHS {
            for (kind, is_nasty) in [("tame", false), ("nasty", true)] {
                let mut make = |len: usize| {
                    let value = |_| if is_nasty && random.below(100) == 0 { random.nasty() } else { random.float() };
                    Guarded::of(GUARD, &(0..len).map(value).collect::<Vec<_>>())
                };
                let (keys, values) = (make(stored * BLOCK * head_dim), make(stored * BLOCK * head_dim));
                let cache = CacheF32 { head_dim, keys: keys.payload(), values: values.payload() };
                for rows in [1, 3, 8] {
                    let values = Guarded::of(GUARD, &random.floats(rows * head_dim));
                    let reach = reaches(&mut random, rows, positions);
                    let queries = QueriesF32 { values: values.payload(), scale: 0.7, reach: &reach };
                    for span in 0..=positions.div_ceil(SPAN) {
                        compare_partials(
                            rows,
                            head_dim,
                            |out| (scalar::KERNELS.attend_f32)(&cache, &queries, span, out),
                            |out| (kernels.attend_f32)(&cache, &queries, span, out),
                        )
                        .map_err(named(|| format!("head {head_dim}, {rows} rows, {positions} positions, span {span}, {kind}")))?;
                        cases += 1;
                    }
                }
            }
        }
    }
    Ok(cases)
}

fn merge(kernels: &Kernels) -> Outcome {
    let mut random = Random::new(37);
    let mut cases = 0;
    for head_dim in [1, 8, 20, 64, 256] {
        for rows in [1, 3, 32] {
            for _ in 0..8 {
                let mut make = || {
                    let max: Vec<f32> = (0..rows)
                        .map(|_| match random.below(6) {
                            0 => f32::NEG_INFINITY,
                            1 => 0.0,
                            2 => -0.0,
                            3 => 100.0 * random.float(),
                            4 => random.nasty(),
                            _ => random.float(),
                        })
                        .collect();
                    let (sum, acc) = (random.floats(rows), random.floats(rows * head_dim));
                    move || -> Parts { (Guarded::of(GUARD, &max), Guarded::of(GUARD, &sum), Guarded::of(GUARD, &acc)) }
                };
                let (start, later) = (make(), make());
                compare_partials_in(
                    start(),
                    start(),
                    |out| (scalar::KERNELS.merge)(&partials(&mut later()), out),
                    |out| (kernels.merge)(&partials(&mut later()), out),
                )
                .map_err(named(|| format!("head {head_dim}, {rows} rows")))?;
                cases += 1;
            }
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn every_table_keeps_the_contract() {
        let mut failures = Vec::new();
        for isa in Isa::available() {
            let kernels = Kernels::select(isa).expect("an available instruction set has a table");
            assert_eq!(kernels.isa, isa);
            check(kernels, |entry, outcome| match outcome {
                Ok(cases) => println!("{isa}/{entry}: {cases} cases"),
                Err(mismatch) => failures.push(format!("{isa}/{entry}: {mismatch}")),
            });
        }
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_the_cpu_has_is_tested() {
        let avx2 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c");
        let avxvnni = avx2 && std::arch::is_x86_feature_detected!("avxvnni");
        // Every machine with VNNI in 512 bits has the other parts that are asked for.
        let avx512 = avx2 && std::arch::is_x86_feature_detected!("avx512vnni");
        let has = [(Isa::Scalar, true), (Isa::Avx2, avx2), (Isa::AvxVnni, avxvnni), (Isa::Avx512, avx512)];
        let expected: Vec<Isa> = has.into_iter().filter_map(|(isa, has)| has.then_some(isa)).collect();
        assert_eq!(Isa::available().collect::<Vec<_>>(), expected);
        assert_eq!(Some(&Kernels::best().isa), expected.last());
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn what_the_cpu_has_is_tested() {
        let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
        let i8mm = dotprod && std::arch::is_aarch64_feature_detected!("i8mm");
        let has = [(Isa::Scalar, true), (Isa::Neon, true), (Isa::DotProd, dotprod), (Isa::I8mm, i8mm)];
        let expected: Vec<Isa> = has.into_iter().filter_map(|(isa, has)| has.then_some(isa)).collect();
        assert_eq!(Isa::available().collect::<Vec<_>>(), expected);
        assert_eq!(Some(&Kernels::best().isa), expected.last());
    }

    #[test]
    #[expect(unsafe_code, reason = "what was detected is assumed")]
    fn a_board_gets_the_table_that_it_names() {
        for isa in Isa::available() {
            // SAFETY: this machine has it.
            let named = unsafe { Kernels::assume(isa) };
            assert!(core::ptr::eq(named.unwrap(), Kernels::select(isa).unwrap()) && named.unwrap().isa == isa);
        }
        let foreign = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
        // SAFETY: no architecture has both, so that there is no table.
        assert!(unsafe { Kernels::assume(foreign) }.is_none());
    }

    /// The contract must see a table that is wrong anywhere.
    #[test]
    fn a_wrong_table_is_caught() {
        fn wrong(_: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) {
            for tile in out.tiles() {
                for token in 0..x.tokens() {
                    out.store(tile, token, [0.5; LANES]);
                }
            }
        }
        let kernels = Kernels { isa: Isa::Scalar, matmul_q8: wrong, ..scalar::KERNELS };
        let mut failed = Vec::new();
        check(&kernels, |entry, outcome| failed.extend(outcome.err().map(|_| entry)));
        assert_eq!(failed, ["matmul_q8"]);
    }
}
