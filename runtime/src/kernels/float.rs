//! f32 and f16 weights times f32 activations on vector machines, written once over a register of a lane sum's lanes.
//!
//! A register tile is some rows times some tokens, with a register of lanes each; the tree is taken at the end. Everything
//! here is `#[inline(always)]`, so that each entry of a table compiles it with its own features.

use super::attend::Eight;
use super::{check_float, lanes};
use crate::tensor::{Matrix, Outputs};
use kinglet_quant::{DType, LANES};

/// What an instruction set supplies.
pub(super) trait Float: Eight {
    /// `self * other` in every lane.
    fn times(self, other: Self) -> Self;
    /// Eight f32.
    fn from_f32(bytes: &[u8; 4 * LANES]) -> Self;
    /// Eight f16, as f32.
    fn from_f16(bytes: &[u8; 2 * LANES]) -> Self;
}

/// Rows in a register tile with one token.
const ROWS: usize = LANES;
/// Rows in a register tile with two tokens: eight sums either way.
const ROWS_OF_TWO: usize = LANES / 2;

/// Tokens that a tile meets before the next tile: their activations stay in the second cache.
const TOKEN_BLOCK: usize = 32;

/// Entry `matmul_f32`.
#[inline(always)]
pub(super) fn matmul_f32<F: Float>(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    check_float(DType::F32, w, x, out);
    matmul(w, x, out, F::from_f32);
}

/// Entry `matmul_f16`.
#[inline(always)]
pub(super) fn matmul_f16<F: Float>(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    check_float(DType::F16, w, x, out);
    matmul(w, x, out, F::from_f16);
}

/// Weights are `N` bytes for eight of a row, which `weights` reads.
#[inline(always)]
fn matmul<F: Float, const N: usize>(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>, weights: impl Fn(&[u8; N]) -> F + Copy) {
    let cols = w.cols();
    let tokens = out.tokens();
    for first in (0..tokens).step_by(TOKEN_BLOCK) {
        let end = (first + TOKEN_BLOCK).min(tokens);
        for tile in out.tiles() {
            let rows = ROWS.min(w.rows() - tile * LANES);
            let bytes = w.tile(tile);
            let mut t = first;
            while t + 2 <= end {
                let x = [&x[t * cols..][..cols], &x[(t + 1) * cols..][..cols]];
                let mut y = [[0.0; LANES]; 2];
                for first in [0, ROWS_OF_TWO] {
                    let sums: [_; ROWS_OF_TWO] = register_tile(bytes, rows, first, x, weights);
                    for row in 0..ROWS_OF_TWO {
                        y[0][first + row] = sums[row][0];
                        y[1][first + row] = sums[row][1];
                    }
                }
                out.store(tile, t, y[0]);
                out.store(tile, t + 1, y[1]);
                t += 2;
            }
            if t < end {
                let y: [_; ROWS] = register_tile(bytes, rows, 0, [&x[t * cols..][..cols]], weights);
                out.store(tile, t, y.map(|[y]| y));
            }
        }
    }
}

/// The products of rows `first..first + R` of a tile, of whose rows only `rows` exist, with `T` vectors of equal length.
/// For a row that does not exist the last one is read again.
#[inline(always)]
fn register_tile<F: Float, const N: usize, const R: usize, const T: usize>(
    bytes: &[u8],
    rows: usize,
    first: usize,
    x: [&[f32]; T],
    weights: impl Fn(&[u8; N]) -> F,
) -> [[f32; T]; R] {
    let cols = x[0].len();
    let width = N / LANES;
    assert!(rows > 0 && bytes.len() == rows * cols * width && x.iter().all(|x| x.len() == cols));
    let mut starts = [0; R];
    for row in 0..R {
        starts[row] = (first + row).min(rows - 1) * cols * width;
    }

    let mut sums = [[F::splat(0.0); T]; R];
    let whole = cols / LANES * LANES;
    for k in (0..whole).step_by(LANES) {
        let mut vectors = [F::splat(0.0); T];
        for t in 0..T {
            // SAFETY: `k + 8 <= cols`, the length of every vector.
            vectors[t] = F::load(unsafe { &*x[t].as_ptr().add(k).cast() });
        }
        for row in 0..R {
            // SAFETY: a row has `cols` weights of `width` bytes from its start on, and `k + 8 <= cols`.
            let w = weights(unsafe { &*bytes.as_ptr().add(starts[row] + k * width).cast() });
            for t in 0..T {
                sums[row][t] = sums[row][t].plus(w.times(vectors[t]));
            }
        }
    }
    if whole < cols {
        // The tail goes through a chunk padded with zeros, as the law says.
        let mut vectors = [F::splat(0.0); T];
        for t in 0..T {
            vectors[t] = lanes::padded(&x[t][whole..]).map_or(vectors[t], |chunk| F::load(&chunk));
        }
        for row in 0..R {
            let mut chunk = [0; N];
            let tail = &bytes[starts[row] + whole * width..][..(cols - whole) * width];
            chunk[..tail.len()].copy_from_slice(tail);
            let w = weights(&chunk);
            for t in 0..T {
                sums[row][t] = sums[row][t].plus(w.times(vectors[t]));
            }
        }
    }

    let mut y = [[0.0; T]; R];
    for row in 0..R {
        for t in 0..T {
            y[row][t] = lanes::tree(sums[row][t].to_lanes(), |a, b| a + b);
        }
    }
    y
}
