//! What the numbers mean: `scalar` against f64 arithmetic on the same quantised inputs.
//!
//! Weights are decoded here from the documented layout, entry by entry, not by any kernel's code. Every bound is
//! written as a count of roundings times the sizes that are rounded: [`UNIT_ROUNDOFF`] per float operation.

use super::*;
use crate::kernels::attention::finish;
use kinglet_quant::BLOCK as INPUTS;

/// The relative error of one rounding to f32.
const UNIT_ROUNDOFF: f64 = 1.0 / 16_777_216.0;

const SHAPES: [(usize, usize, usize); 5] = [(1, 1, 1), (9, 33, 2), (8, 128, 1), (17, 200, 3), (24, 1536, 2)];

fn within(case: &str, got: f32, exact: f64, bound: f64) {
    let error = (f64::from(got) - exact).abs();
    assert!(error <= bound, "{case}: {got:e}, exactly {exact:e}: off by {error:e}, allowed {bound:e}");
}

fn float_at(bytes: &[u8], at: usize) -> f64 {
    f64::from(f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

/// A weight as `(product part, minimum part)`: it is their difference.
fn weight(w: &Matrix<'_>, row: usize, col: usize) -> (f64, f64) {
    let (tile, lane) = (w.tile(row / LANES), row % LANES);
    let (unit, in_unit) = (col / 64, col % 64);
    let block = in_unit / INPUTS;
    match w.dtype() {
        DType::Q4 => {
            let unit = &tile[64 + unit * 288..][..288];
            let byte = unit[(in_unit / 8) * 32 + 4 * lane + in_unit % 4];
            let q = if in_unit % 8 < 4 { byte % 16 } else { byte / 16 };
            let (s, m) = (unit[256 + 8 * block + lane], unit[272 + 2 * lane + block]);
            (float_at(tile, 4 * lane) * f64::from(s) * f64::from(q), float_at(tile, 4 * (8 + lane)) * f64::from(m))
        }
        _ => {
            let unit = &tile[32 + unit * 528..][..528];
            let q = unit[(in_unit / 4) * 32 + 4 * lane + in_unit % 4] as i8;
            (float_at(tile, 4 * lane) * f64::from(unit[512 + 8 * block + lane]) * f64::from(q), 0.0)
        }
    }
}

/// Random weights with tame heads.
fn tame_weights(random: &mut Random, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = weights(random, dtype, Kind::Random, rows, cols);
    let (head, tile) = if dtype == DType::Q4 { (q4::HEAD_BYTES, q4::tile_bytes(cols)) } else { (q8::HEAD_BYTES, q8::tile_bytes(cols)) };
    for tile in bytes.chunks_exact_mut(tile.expect("a small shape")) {
        for scale in tile[..head].chunks_exact_mut(4) {
            scale.copy_from_slice(&(random.float() * 1e-3).to_le_bytes());
        }
    }
    bytes
}

/// Each group rounds its sum, its scaling and its addition; then come the row scale and the difference. Roundings of
/// a sum act on its partial sums, which the sum of sizes bounds.
#[test]
fn quantised_products() {
    let mut random = Random::new(41);
    for dtype in [DType::Q4, DType::Q8] {
        let product = if dtype == DType::Q4 { scalar::KERNELS.matmul_q4 } else { scalar::KERNELS.matmul_q8 };
        for (rows, cols, tokens) in SHAPES {
            let bytes = tame_weights(&mut random, dtype, rows, cols);
            let w = Matrix::new(dtype, rows, cols, &bytes).expect("bytes made for this shape");
            let x = random.floats(tokens * cols);
            let mut buffer = ActsBuffer::new(tokens, cols);
            let mut room = buffer.room();
            (scalar::KERNELS.quantise)(&x, &mut room);
            let acts = room.view();
            let mut out = vec![GUARD; rows * tokens];
            product(&w, &acts, &mut Outputs::new(rows, tokens, &mut out).expect("a fitting buffer"));

            let groups = act::groups(cols);
            for token in 0..tokens {
                for row in 0..rows {
                    let (mut exact, mut size) = (0.0, 0.0);
                    for group in 0..groups {
                        let scale = f64::from(acts.scales()[token * groups + group]);
                        let (mut product, mut minimum) = (0.0, 0.0);
                        for col in group * act::GROUP..((group + 1) * act::GROUP).min(cols) {
                            let (p, m) = weight(&w, row, col);
                            let q = f64::from(acts.quants()[token * act::padded(cols) + col]);
                            product += p * q * scale;
                            minimum += m * q * scale;
                        }
                        exact += product - minimum;
                        size += product.abs() + minimum.abs();
                    }
                    let bound = (groups + 4) as f64 * UNIT_ROUNDOFF * size;
                    within(&format!("{dtype} {rows} x {cols}, row {row}"), out[token * rows + row], exact, bound);
                }
            }
        }
    }
}

/// A lane adds `cols / 8` terms, the tree three; each term was rounded once.
#[test]
fn float_products() {
    let mut random = Random::new(43);
    for (rows, cols, tokens) in SHAPES {
        let w: Vec<half::f16> = random.floats(rows * cols).into_iter().map(half::f16::from_f32).collect();
        let x = random.floats(tokens * cols);
        let f16_bytes: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
        let f32_bytes: Vec<u8> = w.iter().flat_map(|w| w.to_f32().to_le_bytes()).collect();
        for (dtype, bytes, product) in
            [(DType::F16, &f16_bytes, scalar::KERNELS.matmul_f16), (DType::F32, &f32_bytes, scalar::KERNELS.matmul_f32)]
        {
            let matrix = Matrix::new(dtype, rows, cols, bytes).expect("bytes made for this shape");
            let mut out = vec![GUARD; rows * tokens];
            product(&matrix, &x, &mut Outputs::new(rows, tokens, &mut out).expect("a fitting buffer"));
            for token in 0..tokens {
                for row in 0..rows {
                    let terms = (0..cols).map(|k| w[row * cols + k].to_f64() * f64::from(x[token * cols + k]));
                    let size: f64 = terms.clone().map(f64::abs).sum();
                    let bound = (cols.div_ceil(LANES) + 4) as f64 * UNIT_ROUNDOFF * size;
                    within(&format!("{dtype} {rows} x {cols}"), out[token * rows + row], terms.sum(), bound);
                }
            }
        }
    }
}

/// A quant is within half a step of its value, up to the roundings of the two reciprocals; block sums are exact.
#[test]
fn quantising() {
    let mut random = Random::new(47);
    for cols in COLS {
        let x: Vec<f32> = random.floats(cols).into_iter().map(|x| x * x * x).collect();
        let mut buffer = ActsBuffer::new(1, cols);
        let mut room = buffer.room();
        (scalar::KERNELS.quantise)(&x, &mut room);
        let acts = room.view();
        for (i, x) in x.iter().enumerate() {
            let scale = f64::from(acts.scales()[i / act::GROUP]);
            let bound = scale * (0.5 + 127.0 * 4.0 * UNIT_ROUNDOFF);
            within(&format!("{cols} columns, value {i}"), *x, f64::from(acts.quants()[i]) * scale, bound);
        }
        assert!(acts.quants()[cols..].iter().all(|q| *q == 0));
        for (block, sum) in acts.sums().iter().enumerate() {
            let exact: i32 = acts.quants()[block * INPUTS..][..INPUTS].iter().map(|q| i32::from(*q)).sum();
            assert_eq!(i32::from(*sum), exact);
        }
    }
}

#[test]
fn norms_and_rotation() {
    let mut random = Random::new(53);
    for n in COLS {
        let (weight, bias, x) = (random.floats(n), random.floats(n), random.floats(n));
        let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (w, b, v) = (wide(&weight), wide(&bias), wide(&x));
        let eps = f64::from(1e-5_f32);
        // Half the relative error of the mean square, then four operations.
        let roundings = n.div_ceil(LANES) as f64 + 12.0;
        let mut out = vec![GUARD; n];

        (scalar::KERNELS.rms_norm)(&weight, 1e-5, &x, &mut out);
        let r = (v.iter().map(|v| v * v).sum::<f64>() / n as f64 + eps).sqrt().recip();
        for i in 0..n {
            let exact = v[i] * r * w[i];
            within(&format!("rms_norm of {n}"), out[i], exact, roundings * UNIT_ROUNDOFF * exact.abs());
        }

        (scalar::KERNELS.layer_norm)(&weight, &bias, 1e-5, &x, &mut out);
        let mean = v.iter().sum::<f64>() / n as f64;
        let variance = v.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64;
        let r = (variance + eps).sqrt().recip();
        for i in 0..n {
            let exact = (v[i] - mean) * r * w[i] + b[i];
            // The mean's error stands beside the value, not in proportion to it.
            let size = (v[i].abs() + 1.0) * r * w[i].abs() + b[i].abs();
            within(&format!("layer_norm of {n}"), out[i], exact, 2.0 * roundings * UNIT_ROUNDOFF * size);
        }

        let mut turned: Vec<f32> = x.iter().chain(&bias).copied().chain([7.0]).collect();
        let sin: Vec<f32> = weight.iter().rev().copied().collect();
        (scalar::KERNELS.rope)(&weight, &sin, &mut turned);
        for i in 0..n {
            let s = f64::from(sin[i]);
            within("rope, front", turned[i], v[i] * w[i] - b[i] * s, 4.0 * UNIT_ROUNDOFF);
            within("rope, back", turned[n + i], b[i] * w[i] + v[i] * s, 4.0 * UNIT_ROUNDOFF);
        }
        assert_eq!(turned[2 * n], 7.0);
    }
}

#[test]
fn activations() {
    /// `erf` by its series with positive terms, which serves up to 6; beyond it is 1.
    fn erf(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..300 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        core::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    }
    let exact = |f: Activation, x: f64| match f {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => 0.5 * x * (1.0 + (core::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
        Activation::GeluErf => 0.5 * x * (1.0 + erf(x * core::f64::consts::FRAC_1_SQRT_2)),
        Activation::Relu => x.max(0.0),
    };
    let x: Vec<f32> = (-20_000..=20_000).map(|i| i as f32 * 1e-3).collect();
    let up: Vec<f32> = x.iter().map(|x| 2.0 - x * 0.1).collect();
    for f in ACTIVATIONS {
        let (mut plain, mut gated) = (x.clone(), x.clone());
        (scalar::KERNELS.activate)(f, &mut plain);
        (scalar::KERNELS.activate_gated)(f, &up, &mut gated);
        for i in 0..x.len() {
            let y = exact(f, f64::from(x[i]));
            // 1 + tanh and 1 + erf cancel on the left: their error is in proportion to x, not to the result.
            let bound = 8.0 * UNIT_ROUNDOFF * f64::from(x[i].abs());
            within(&format!("{f:?}({})", x[i]), plain[i], y, bound);
            within(&format!("gated {f:?}({})", x[i]), gated[i], y * f64::from(up[i]), 2.0 * bound * f64::from(up[i].abs()).max(1.0));
        }
    }
}

/// Softmax attention in f64, in no blocks and no spans.
struct Exact {
    head_dim: usize,
    /// `[rows][positions]`, NaN out of reach.
    scores: Vec<Vec<f64>>,
    /// `[positions][head_dim]`, scaled.
    values: Vec<Vec<f64>>,
}

impl Exact {
    /// The output of a row and the largest value of each channel within reach.
    fn row(&self, row: usize) -> (Vec<f64>, Vec<f64>) {
        let reached = || self.scores[row].iter().enumerate().filter(|(_, s)| !s.is_nan());
        let max = reached().map(|(_, s)| *s).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = reached().map(|(_, s)| (s - max).exp()).sum();
        let mut out = vec![0.0; self.head_dim];
        let mut most = vec![0.0_f64; self.head_dim];
        for (p, s) in reached() {
            for c in 0..self.head_dim {
                out[c] += (s - max).exp() / total * self.values[p][c];
                most[c] = most[c].max(self.values[p][c].abs());
            }
        }
        (out, most)
    }
}

/// All spans of an attention, merged and finished.
fn attended(rows: usize, head_dim: usize, positions: usize, run: impl Fn(usize, &mut Partials<'_>)) -> Vec<f32> {
    let make = || (vec![GUARD; rows], vec![GUARD; rows], vec![GUARD; rows * head_dim]);
    let (mut whole, mut next) = (make(), make());
    let mut whole = Partials { max: &mut whole.0, sum: &mut whole.1, acc: &mut whole.2 };
    run(0, &mut whole);
    for span in 1..positions.div_ceil(SPAN) {
        let mut next = Partials { max: &mut next.0, sum: &mut next.1, acc: &mut next.2 };
        run(span, &mut next);
        (scalar::KERNELS.merge)(&next, &mut whole);
    }
    let mut out = vec![GUARD; rows * head_dim];
    finish(whole.sum, whole.acc, &mut out);
    out
}

const ATTENTIONS: [(usize, usize, usize); 4] = [(8, 1, 1), (16, 3, 70), (64, 5, 700), (40, 9, 1100)];

/// Rounding a weight to 7 bits is off by at most half a step, a step being 1/127 of the block's largest weight. These
/// errors are independent on random inputs: the bound is six deviations of their sum, and some float roundings.
#[test]
fn attention_over_int8() {
    let mut random = Random::new(59);
    for (head_dim, rows, positions) in ATTENTIONS {
        let blocks = positions.div_ceil(BLOCK);
        let keys = random.quants(blocks * BLOCK * head_dim);
        // Of one sign, so that weights rounded to one side add up to more than the bound.
        let values: Vec<i8> = random.quants(blocks * BLOCK * head_dim).into_iter().map(i8::abs).collect();
        let key_scales: Vec<f32> = (0..blocks * BLOCK).map(|_| 0.01 + random.float().abs() * 0.01).collect();
        let value_scales: Vec<f32> = (0..blocks * BLOCK).map(|_| 0.01 + random.float().abs() * 0.01).collect();
        let pack = |rows: &[i8], pack: fn(usize, &[i8]) -> Vec<i8>| -> Vec<i8> {
            rows.chunks_exact(BLOCK * head_dim).flat_map(|block| pack(head_dim, block)).collect()
        };
        let (packed_keys, packed_values) = (pack(&keys, pack_keys), pack(&values, pack_values));
        let cache = CacheI8 { head_dim, keys: &packed_keys, key_scales: &key_scales, values: &packed_values, value_scales: &value_scales };
        let quants = random.quants(rows * head_dim);
        let query_scales: Vec<f32> = random.floats(rows).into_iter().map(|s| s * 2e-3).collect();
        let reach = reaches(&mut random, rows, positions);
        let queries = QueriesI8 { quants: &quants, scales: &query_scales, reach: &reach };
        let got = attended(rows, head_dim, positions, |span, out| {
            (scalar::KERNELS.attend_i8)(&cache, &queries, span, out);
        });

        let exact = Exact {
            head_dim,
            scores: (0..rows)
                .map(|row| {
                    let score = |p: usize| {
                        let dot: i32 =
                            (0..head_dim).map(|c| i32::from(quants[row * head_dim + c]) * i32::from(keys[p * head_dim + c])).sum();
                        f64::from(dot) * f64::from(query_scales[row]) * f64::from(key_scales[p])
                    };
                    let inside = |p: &usize| (reach[row].start..reach[row].end).contains(p);
                    (0..positions).map(|p| if inside(&p) { score(p) } else { f64::NAN }).collect()
                })
                .collect(),
            values: (0..positions)
                .map(|p| (0..head_dim).map(|c| f64::from(values[p * head_dim + c]) * f64::from(value_scales[p])).collect())
                .collect(),
        };
        for row in 0..rows {
            let (out, most) = exact.row(row);
            let (max, total) = exact.scores[row].iter().filter(|s| !s.is_nan()).fold((f64::NEG_INFINITY, 0.0), |(m, t): (f64, f64), s| {
                if *s > m { (*s, t * (m - s).exp() + 1.0) } else { (m, t + (s - m).exp()) }
            });
            for c in 0..head_dim {
                // The variance of the errors: uniform in half a step either way, times the quant of the value.
                let mut variance = 0.0;
                for block in 0..blocks {
                    let inside = (block * BLOCK..((block + 1) * BLOCK).min(positions)).filter(|p| !exact.scores[row][*p].is_nan());
                    let weighted = |p: usize| (exact.scores[row][p] - max).exp() / total * f64::from(value_scales[p]);
                    let step = inside.clone().map(weighted).fold(0.0, f64::max) / 127.0;
                    variance += inside.map(|p| (step * f64::from(values[p * head_dim + c])).powi(2) / 12.0).sum::<f64>();
                }
                let bound = 6.0 * variance.sqrt() + 64.0 * UNIT_ROUNDOFF * most[c];
                within(&format!("head {head_dim}, row {row}, channel {c}"), got[row * head_dim + c], out[c], bound);
            }
        }
    }
}

/// Scores carry the roundings of a dot product into the exponent; everything else is a handful more.
#[test]
fn attention_over_f32() {
    let mut random = Random::new(61);
    for (head_dim, rows, positions) in ATTENTIONS {
        let blocks = positions.div_ceil(BLOCK);
        let (keys, values) = (random.floats(blocks * BLOCK * head_dim), random.floats(blocks * BLOCK * head_dim));
        let cache = CacheF32 { head_dim, keys: &keys, values: &values };
        let query = random.floats(rows * head_dim);
        let reach = reaches(&mut random, rows, positions);
        let queries = QueriesF32 { values: &query, scale: 0.5, reach: &reach };
        let got = attended(rows, head_dim, positions, |span, out| {
            (scalar::KERNELS.attend_f32)(&cache, &queries, span, out);
        });

        let exact = Exact {
            head_dim,
            scores: (0..rows)
                .map(|row| {
                    let score = |p: usize| -> f64 {
                        (0..head_dim).map(|c| f64::from(query[row * head_dim + c]) * f64::from(keys[p * head_dim + c])).sum::<f64>() * 0.5
                    };
                    let inside = |p: &usize| (reach[row].start..reach[row].end).contains(p);
                    (0..positions).map(|p| if inside(&p) { score(p) } else { f64::NAN }).collect()
                })
                .collect(),
            values: values.chunks_exact(head_dim).map(|v| v.iter().map(|v| f64::from(*v)).collect()).collect(),
        };
        for row in 0..rows {
            let (out, most) = exact.row(row);
            let roundings = 4.0 * (head_dim as f64 + BLOCK as f64 + 3.0 * blocks as f64);
            for c in 0..head_dim {
                let bound = roundings * UNIT_ROUNDOFF * most[c];
                within(&format!("head {head_dim}, row {row}, channel {c}"), got[row * head_dim + c], out[c], bound);
            }
        }
    }
}

/// A merge of spans in which a row reached nothing, on either side, changes nothing.
#[test]
fn merging_with_nothing() {
    let nothing = (f32::NEG_INFINITY, 0.0, [0.0, 0.0]);
    let something = (0.25, 3.5, [-1.5, -0.0]);
    for (a, b, expected) in [(nothing, something, something), (something, nothing, something), (nothing, nothing, nothing)] {
        let (mut a, mut b) = (a, b);
        let mut into = Partials { max: core::slice::from_mut(&mut a.0), sum: core::slice::from_mut(&mut a.1), acc: &mut a.2 };
        let later = Partials { max: core::slice::from_mut(&mut b.0), sum: core::slice::from_mut(&mut b.1), acc: &mut b.2 };
        (scalar::KERNELS.merge)(&later, &mut into);
        let mut out = [GUARD; 2];
        finish(into.sum, into.acc, &mut out);
        assert_eq!(out, if expected.1 == 0.0 { [0.0; 2] } else { expected.2.map(|acc| acc / expected.1) });
        assert_eq!(a, expected);
    }
}
