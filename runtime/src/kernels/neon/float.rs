//! f32 and f16 weights times f32 activations: the lanes of two registers are the lanes of a lane sum.
//!
//! A register tile is `R` rows times `T` tokens, with two registers of lanes each; the tree is taken at the end.

use crate::kernels::check_float;
use crate::tensor::{Matrix, Outputs};
use core::arch::aarch64::*;
use kinglet_quant::{DType, LANES};

/// Rows in a register tile with one token.
const ROWS: usize = LANES;
/// Rows in a register tile with two tokens: sixteen registers of sums either way.
const ROWS_OF_TWO: usize = LANES / 2;

/// Tokens that a tile meets before the next tile: their activations stay in the second cache.
const TOKEN_BLOCK: usize = 32;

/// Entry `matmul_f32`.
#[target_feature(enable = "neon")]
pub(super) fn matmul_f32(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    check_float(DType::F32, w, x, out);
    matmul::<false>(w, x, out);
}

/// Entry `matmul_f16`.
#[target_feature(enable = "neon")]
pub(super) fn matmul_f16(w: &Matrix<'_>, x: &[f32], out: &mut Outputs<'_>) {
    check_float(DType::F16, w, x, out);
    matmul::<true>(w, x, out);
}

#[target_feature(enable = "neon")]
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
                    let sums = register_tile::<HALF, ROWS_OF_TWO, 2>(bytes, rows, first, x);
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
                let sums = register_tile::<HALF, ROWS, 1>(bytes, rows, 0, [&x[t * cols..][..cols]]);
                let mut y = [0.0; LANES];
                for row in 0..ROWS {
                    y[row] = sums[row][0];
                }
                out.store(tile, t, y);
            }
        }
    }
}

/// The products of rows `first..first + R` of a tile, of whose rows only `rows` exist, with `T` vectors of equal length.
/// For a row that does not exist the last one is read again.
#[target_feature(enable = "neon")]
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

    let mut sums = [[[vdupq_n_f32(0.0); 2]; T]; R];
    let whole = cols / LANES * LANES;
    for k in (0..whole).step_by(LANES) {
        let mut vectors = [[vdupq_n_f32(0.0); 2]; T];
        for t in 0..T {
            // SAFETY: `k + 8 <= cols`, the length of every vector.
            vectors[t] = unsafe { activations(x[t].as_ptr().add(k)) };
        }
        for row in 0..R {
            // SAFETY: a row has `cols` weights of `width` bytes from its start on, and `k + 8 <= cols`.
            let w = unsafe { weights::<HALF>(bytes.as_ptr().add(starts[row] + k * width)) };
            add_products(w, &vectors, &mut sums[row]);
        }
    }
    if whole < cols {
        // The tail goes through a chunk padded with zeros, as the law says.
        let mut vectors = [[vdupq_n_f32(0.0); 2]; T];
        for t in 0..T {
            let mut chunk = [0.0; LANES];
            chunk[..cols - whole].copy_from_slice(&x[t][whole..]);
            // SAFETY: the array has 8 floats.
            vectors[t] = unsafe { activations(chunk.as_ptr()) };
        }
        for row in 0..R {
            let mut chunk = [0_u8; 4 * LANES];
            let tail = &bytes[starts[row] + whole * width..][..(cols - whole) * width];
            chunk[..tail.len()].copy_from_slice(tail);
            // SAFETY: the array has 32 bytes, as many as eight weights of either width need.
            let w = unsafe { weights::<HALF>(chunk.as_ptr()) };
            add_products(w, &vectors, &mut sums[row]);
        }
    }

    let mut y = [[0.0; T]; R];
    for row in 0..R {
        for t in 0..T {
            y[row][t] = tree(sums[row][t]);
        }
    }
    y
}

/// Adds the products of eight weights of a row with those of every vector.
#[inline]
#[target_feature(enable = "neon")]
fn add_products<const T: usize>(w: [float32x4_t; 2], vectors: &[[float32x4_t; 2]; T], sums: &mut [[float32x4_t; 2]; T]) {
    for t in 0..T {
        for half in 0..2 {
            sums[t][half] = vaddq_f32(sums[t][half], vmulq_f32(w[half], vectors[t][half]));
        }
    }
}

/// The tree of a lane sum: lanes `l` and `l + 4` meet first, then those two apart, then neighbours.
#[inline]
#[target_feature(enable = "neon")]
fn tree(lanes: [float32x4_t; 2]) -> f32 {
    let four = vaddq_f32(lanes[0], lanes[1]);
    let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    vaddv_f32(two)
}

/// Eight activations.
///
/// # Safety
/// `from` has 8 readable floats.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn activations(from: *const f32) -> [float32x4_t; 2] {
    // SAFETY: the caller's duty.
    unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
}

/// Eight weights as f32.
///
/// # Safety
/// `from` has 16 readable bytes for f16, 32 for f32.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn weights<const HALF: bool>(from: *const u8) -> [float32x4_t; 2] {
    if HALF {
        // SAFETY: the caller's duty.
        let eight = vreinterpretq_f16_u8(unsafe { vld1q_u8(from) });
        [vcvt_f32_f16(vget_low_f16(eight)), vcvt_high_f32_f16(eight)]
    } else {
        // SAFETY: the caller's duty; whole registers of bytes are loaded, whose address may be any.
        let (low, high) = unsafe { (vld1q_u8(from), vld1q_u8(from.add(16))) };
        [vreinterpretq_f32_u8(low), vreinterpretq_f32_u8(high)]
    }
}
