//! Plain Rust kernels: the oracle of every other instruction set, and what boards without SIMD run.
//!
//! They follow the laws of [`super`] word by word. The inner loops have fixed bounds and no branch, so that a
//! compiler with any vector unit can use it.

use super::attend::{self, Dots, TILES};
use super::attention::{BLOCK, CacheI8, Partials, QueriesI8};
use super::{Kernels, lanes, token};
use crate::isa::Isa;
use crate::tensor::{Acts, Matrix, Outputs};
use kinglet_quant::{DType, LANES, UNIT, act, float, q4, q8};

/// The table, and what other tables take of it.
pub(super) static TABLE: Kernels = KERNELS;
pub(super) const KERNELS: Kernels = Kernels {
    isa: Isa::Scalar,
    quantise: lanes::quantise,
    quantise_heads: lanes::quantise_heads,
    subtract: lanes::subtract,
    matmul_q4,
    matmul_q8,
    matmul_f16,
    matmul_f32,
    rms_norm: lanes::rms_norm,
    layer_norm: lanes::layer_norm,
    rope: lanes::rope,
    activate: lanes::activate,
    activate_gated: lanes::activate_gated,
    add: lanes::add,
    attend_i8,
    attend_f32: attend::attend_f32,
    merge: attend::merge,
};

/// Bytes of four inputs of eight rows; four of them share a 32-bit lane.
const GANG: usize = 4 * LANES;

/// The sums of the four places of every row.
fn rows_of<T: Copy + Into<i32>>(gang: &[T; GANG]) -> [i32; LANES] {
    core::array::from_fn(|row| gang[4 * row..4 * row + 4].iter().map(|place| (*place).into()).sum())
}

/// Four activations for each of the eight rows.
fn to_all(four: &[i8; 4]) -> [i16; GANG] {
    let mut all = [0; GANG];
    for row in all.as_chunks_mut::<4>().0 {
        *row = four.map(i16::from);
    }
    all
}

fn matmul_q4(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) {
    super::check_quantised(DType::Q4, w, x, out);
    for tile in out.tiles() {
        let bytes = w.tile(tile);
        for t in 0..x.tokens() {
            let (quants, scales, sums) = token(x, t);
            let units = bytes[q4::HEAD_BYTES..].chunks(act::GROUP / UNIT * q4::UNIT_BYTES);
            let (mut products, mut minima) = ([0.0; LANES], [0.0; LANES]);
            for (((units, quants), sums), scale) in
                units.zip(quants.chunks(act::GROUP)).zip(sums.chunks(act::GROUP / kinglet_quant::BLOCK)).zip(scales)
            {
                let (mut product, mut min) = ([0; LANES], [0; LANES]);
                for ((unit, quants), sums) in
                    units.as_chunks::<{ q4::UNIT_BYTES }>().0.iter().zip(quants.as_chunks::<UNIT>().0).zip(sums.as_chunks::<2>().0)
                {
                    q4_unit(unit, quants, sums, &mut product, &mut min);
                }
                for row in 0..LANES {
                    products[row] += product[row] as f32 * scale;
                    minima[row] += min[row] as f32 * scale;
                }
            }
            out.store(
                tile,
                t,
                core::array::from_fn(|row| {
                    let head = q4::row_head(bytes, row);
                    head.scale * products[row] - head.min * minima[row]
                }),
            );
        }
    }
}

/// Adds a unit's `Σ s_b Σ q x` and `Σ m_b sum_b` of eight rows.
fn q4_unit(unit: &[u8; q4::UNIT_BYTES], x: &[i8; UNIT], sums: &[i16; 2], product: &mut [i32; LANES], min: &mut [i32; LANES]) {
    let (loads, x) = (unit[..q4::QUANT_BYTES].as_chunks::<GANG>().0, x.as_chunks::<4>().0);
    for block in 0..2 {
        // The eight products of a byte's place in a block are at most 8 * 1,905 = 15,240: 16 bits hold their sum.
        let mut gang = [0_i16; GANG];
        for load in 4 * block..4 * block + 4 {
            let (low, high) = (to_all(&x[2 * load]), to_all(&x[2 * load + 1]));
            for byte in 0..GANG {
                let packed = i16::from(loads[load][byte]);
                gang[byte] += (packed & i16::from(q4::QUANT_MAX)) * low[byte] + (packed >> 4) * high[byte];
            }
        }
        let rows = rows_of(&gang);
        for row in 0..LANES {
            product[row] += rows[row] * i32::from(unit[q4::scale_at(row, block)]);
            min[row] += i32::from(sums[block]) * i32::from(unit[q4::min_at(row, block)]);
        }
    }
}

fn matmul_q8(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) {
    super::check_quantised(DType::Q8, w, x, out);
    for tile in out.tiles() {
        let bytes = w.tile(tile);
        for t in 0..x.tokens() {
            let (quants, scales, _) = token(x, t);
            let units = bytes[q8::HEAD_BYTES..].chunks(act::GROUP / UNIT * q8::UNIT_BYTES);
            let mut products = [0.0; LANES];
            for ((units, quants), scale) in units.zip(quants.chunks(act::GROUP)).zip(scales) {
                let mut product = [0; LANES];
                for (unit, quants) in units.as_chunks::<{ q8::UNIT_BYTES }>().0.iter().zip(quants.as_chunks::<UNIT>().0) {
                    q8_unit(unit, quants, &mut product);
                }
                for row in 0..LANES {
                    products[row] += product[row] as f32 * scale;
                }
            }
            out.store(tile, t, core::array::from_fn(|row| q8::row_scale(bytes, row) * products[row]));
        }
    }
}

/// Adds a unit's `Σ s_b Σ q x` of eight rows.
fn q8_unit(unit: &[u8; q8::UNIT_BYTES], x: &[i8; UNIT], product: &mut [i32; LANES]) {
    let loads = unit[..q8::QUANT_BYTES].as_chunks::<GANG>().0;
    for block in 0..2 {
        let mut gang = [0; GANG];
        for load in 8 * block..8 * block + 8 {
            for byte in 0..GANG {
                gang[byte] += i32::from(loads[load][byte] as i8) * i32::from(x[4 * load + byte % 4]);
            }
        }
        let rows = rows_of(&gang);
        for row in 0..LANES {
            product[row] += rows[row] * i32::from(unit[q8::scale_at(row, block)]);
        }
    }
}

fn matmul_f16(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    super::check_float(DType::F16, w, x, out);
    matmul_float(w, x, out, float::read_f16);
}

fn matmul_f32(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    super::check_float(DType::F32, w, x, out);
    matmul_float(w, x, out, float::read_f32);
}

/// A row is decoded in pieces of this many values, which is a multiple of the lanes.
const PIECE: usize = 8 * LANES;

fn matmul_float(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>, decode: impl Fn(&[u8], &mut [f32])) {
    let cols = w.cols();
    for tile in out.tiles() {
        let bytes = w.tile(tile);
        let row_bytes = w.bytes().len() / w.rows();
        for t in 0..out.tokens() {
            let x = &x[t * cols..][..cols];
            let mut y = [0.0; LANES];
            for (y, row) in y.iter_mut().zip(bytes.chunks_exact(row_bytes)) {
                let mut lanes = [0.0; LANES];
                for (x, bytes) in x.chunks(PIECE).zip(row.chunks(PIECE * row_bytes / cols)) {
                    let mut w = [0.0; PIECE];
                    decode(bytes, &mut w);
                    lanes::dot_into(&mut lanes, &w[..x.len()], x);
                }
                *y = lanes::tree(lanes, |a, b| a + b);
            }
            out.store(tile, t, y);
        }
    }
}

/// The integer primitives of attention.
struct Scalar;

impl Dots for Scalar {
    const ROWS: usize = 4;
    type Eight = lanes::Lanes;

    fn scores<const R: usize>(keys: &[i8], _next: &[i8], queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
        for (query, out) in queries.iter().zip(out) {
            let out = out.as_chunks_mut::<LANES>().0;
            for tile in 0..TILES {
                let keys = keys[tile * LANES * query.len()..].as_chunks::<GANG>().0;
                let mut gang = [0; GANG];
                for (keys, query) in keys.iter().zip(query.as_chunks::<4>().0) {
                    for byte in 0..GANG {
                        gang[byte] += i32::from(keys[byte]) * i32::from(query[byte % 4]);
                    }
                }
                out[tile] = rows_of(&gang);
            }
        }
    }

    fn values<const R: usize>(tiles: &[i8], _next: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
        for (weights, out) in weights.iter().zip(out) {
            for (tile, out) in tiles.chunks_exact(LANES * BLOCK).zip(out.as_chunks_mut::<LANES>().0) {
                let mut gang = [0; GANG];
                for (values, weights) in tile.as_chunks::<GANG>().0.iter().zip(weights.as_chunks::<4>().0) {
                    for byte in 0..GANG {
                        gang[byte] += i32::from(values[byte]) * i32::from(weights[byte % 4]);
                    }
                }
                *out = rows_of(&gang);
            }
        }
    }

    fn weights(e: &[f32; BLOCK], inverse: f32, out: &mut [u8; BLOCK]) {
        attend::weights(e, inverse, out);
    }
}

fn attend_i8(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) {
    attend::attend_i8::<Scalar>(cache, queries, span, out);
}
