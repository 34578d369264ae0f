//! f32 and f16 weights times f32 activations: the lanes of a register are the lanes of a lane sum.
//!
//! A register tile is `R` rows times `T` tokens, with one register of lanes each; the tree is taken at the end.

use super::to_lanes;
use crate::kernels::{check_float, lanes};
use crate::tensor::{Matrix, Outputs};
use core::arch::x86_64::*;
use kinglet_quant::{DType, LANES};

/// Rows in a register tile with one token.
const ROWS: usize = LANES;
/// Rows in a register tile with two tokens: eight sums either way.
const ROWS_OF_TWO: usize = LANES / 2;

/// Tokens that a tile meets before the next tile: their activations stay in the second cache.
const TOKEN_BLOCK: usize = 32;

/// Entry `matmul_f32`.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matmul_f32(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    check_float(DType::F32, w, x, out);
    matmul::<false>(w, x, out);
}

/// Entry `matmul_f16`.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn matmul_f16(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    check_float(DType::F16, w, x, out);
    matmul::<true>(w, x, out);
}

#[target_feature(enable = "avx2,f16c")]
fn matmul<const HALF: bool>(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
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
                    for (row, sums) in register_tile::<HALF, ROWS_OF_TWO, 2>(bytes, rows, first, x).into_iter().enumerate() {
                        y[0][first + row] = sums[0];
                        y[1][first + row] = sums[1];
                    }
                }
                out.store(tile, t, y[0]);
                out.store(tile, t + 1, y[1]);
                t += 2;
            }
            if t < end {
                let y = register_tile::<HALF, ROWS, 1>(bytes, rows, 0, [&x[t * cols..][..cols]]);
                out.store(tile, t, y.map(|[y]| y));
            }
        }
    }
}

/// The products of rows `first..first + R` of a tile, of whose rows only `rows` exist, with `T` vectors of equal length.
/// For a row that does not exist the last one is read again.
#[target_feature(enable = "avx2,f16c")]
fn register_tile<const HALF: bool, const R: usize, const T: usize>(
    bytes: &[u8],
    rows: usize,
    first: usize,
    x: [&[f32]; T],
) -> [[f32; T]; R] {
    let cols = x[0].len();
    let width = if HALF { 2 } else { 4 };
    assert!(rows > 0 && bytes.len() == rows * cols * width && x.iter().all(|x| x.len() == cols));
    let mut starts = [0; R];
    for row in 0..R {
        starts[row] = (first + row).min(rows - 1) * cols * width;
    }

    let mut sums = [[_mm256_setzero_ps(); T]; R];
    let whole = cols / LANES * LANES;
    for k in (0..whole).step_by(LANES) {
        let mut vectors = [_mm256_setzero_ps(); T];
        for t in 0..T {
            // SAFETY: `k + 8 <= cols`, the length of every vector.
            vectors[t] = unsafe { _mm256_loadu_ps(x[t].as_ptr().add(k)) };
        }
        for row in 0..R {
            // SAFETY: a row has `cols` weights of `width` bytes from its start on, and `k + 8 <= cols`.
            let w = unsafe { weights::<HALF>(bytes.as_ptr().add(starts[row] + k * width)) };
            for t in 0..T {
                sums[row][t] = _mm256_add_ps(sums[row][t], _mm256_mul_ps(w, vectors[t]));
            }
        }
    }
    if whole < cols {
        // The tail goes through a chunk padded with zeros, as the law says.
        let mut vectors = [_mm256_setzero_ps(); T];
        for t in 0..T {
            let mut chunk = [0.0; LANES];
            chunk[..cols - whole].copy_from_slice(&x[t][whole..]);
            // SAFETY: the array has 8 floats.
            vectors[t] = unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
        }
        for row in 0..R {
            let mut chunk = [0_u8; 4 * LANES];
            let tail = &bytes[starts[row] + whole * width..][..(cols - whole) * width];
            chunk[..tail.len()].copy_from_slice(tail);
            // SAFETY: the array has 32 bytes, as many as eight weights of either width need.
            let w = unsafe { weights::<HALF>(chunk.as_ptr()) };
            for t in 0..T {
                sums[row][t] = _mm256_add_ps(sums[row][t], _mm256_mul_ps(w, vectors[t]));
            }
        }
    }

    let mut y = [[0.0; T]; R];
    for row in 0..R {
        for t in 0..T {
            y[row][t] = lanes::tree(to_lanes(sums[row][t]), |a, b| a + b);
        }
    }
    y
}

/// Eight weights as f32.
///
/// # Safety
/// `from` has 16 readable bytes for f16, 32 for f32.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn weights<const HALF: bool>(from: *const u8) -> __m256 {
    if HALF {
        // SAFETY: the caller's duty.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    } else {
        // SAFETY: the caller's duty.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }
}
