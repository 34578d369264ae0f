//! The quantiser of `q8`.
//!
//! With 255 levels a block's own error barely depends on its step, but does depend on how its 32 weights happen to
//! fall between the levels: within a few percent of the tightest step there are steps whose error is a fifth smaller.
//!
//! ```text
//! row_scale = a step that suits the blocks' tightest steps (peak / 127), of a few the one that ends best
//! repeat:  s of every block = the best of the integers from just below its tightest step upward
//!          row_scale = least squares, given every s and q
//! ```

use super::{QUANT_MAX, tile_bytes, write_block, write_head};
use crate::search::{Block, Row, check, common_step, sum};
use crate::{BLOCK, QuantiseError, round_half_even};

/// Integer scales tried per block: one below the tightest, the rest above.
const TRIED: u32 = 16;
/// Times that the row's scale and the blocks' are fitted to each other.
const ROUNDS: usize = 3;

/// Quantises 1 to 8 rows of equal length into the tile `out`, so that the squared error, each column times its
/// `importance` (1 if not given), is small. A pure function of its arguments. Missing rows are padding.
///
/// Rows whose weights are all below 1e-30 in size are stored as zeros.
///
/// # Errors
/// [`QuantiseError`] names the first weight or importance out of range; `out` is then unspecified.
///
/// # Panics
/// If there is not 1 to 8 rows, their lengths or that of `importance` differ, or `out` is not
/// [`tile_bytes`] of their length.
pub fn quantise_tile(rows: &[&[f32]], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), QuantiseError> {
    let cols = check(rows, importance)?;
    assert_eq!(Some(out.len()), tile_bytes(cols), "bytes of the tile");
    out.fill(0);
    for (lane, weights) in rows.iter().enumerate() {
        let Some(row) = Row::new(weights, importance) else {
            continue;
        };
        let Fit { scale, scales, .. } = fit_row(&row.blocks);
        write_head(out, lane, (f64::from(scale) * row.unit) as f32);
        for (b, (s, block)) in scales.iter().zip(&row.blocks).enumerate() {
            write_block(out, lane, b, *s, &quants(block, scale * f32::from(*s)).map(|q| q as i8));
        }
    }
    Ok(())
}

fn fit_row(blocks: &[Block]) -> Fit {
    let peaks: Vec<f32> = blocks.iter().map(|b| b.w.iter().fold(0.0f32, |m, w| m.max(w.abs()))).collect();
    let tightest: Vec<(f32, f32)> = peaks.iter().map(|p| (p / f32::from(QUANT_MAX), 1.0)).collect();
    let greatest = tightest.iter().fold(0.0f32, |m, t| m.max(t.0));
    // With room above the greatest peak; without, for the finer steps of the other blocks; and the plain choice, so
    // that the result is never worse than that.
    let starts = [common_step(&tightest, 255 - TRIED as u8), common_step(&tightest, 255), greatest / 255.0];
    let mut best = Fit { scale: 0.0, scales: Vec::new(), error: f64::INFINITY };
    for start in starts {
        let mut fit = fit_blocks(blocks, &peaks, start);
        for _ in 1..ROUNDS {
            let next = fit_blocks(blocks, &peaks, refit(blocks, &fit));
            if next.error >= fit.error {
                break;
            }
            fit = next;
        }
        if fit.error < best.error {
            best = fit;
        }
    }
    best
}

/// What is stored of a row besides its quants.
struct Fit {
    scale: f32,
    scales: Vec<u8>,
    error: f64,
}

/// The best scale of every block and the error of the row.
fn fit_blocks(blocks: &[Block], peaks: &[f32], scale: f32) -> Fit {
    let mut total = 0.0;
    let fitted = blocks.iter().zip(peaks).map(|(block, peak)| {
        // As a float the quotient may be past 255: a refitted scale can be smaller than the one of the greatest peak.
        let tightest = (peak / f32::from(QUANT_MAX) / scale).ceil().min(255.0) as u32;
        let mut best = (f32::INFINITY, 0);
        for s in tightest.saturating_sub(1)..=255.min(tightest + TRIED - 2) {
            let error = error(block, scale * s as f32);
            if error < best.0 {
                best = (error, s as u8);
            }
        }
        total += f64::from(best.0);
        best.1
    });
    let scales = fitted.collect();
    Fit { scale, scales, error: total }
}

/// The quants of a block, as floats; all 0 for a step of 0.
fn quants(block: &Block, step: f32) -> [f32; BLOCK] {
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    block.w.map(|w| quant(w, inverse))
}

fn quant(w: f32, inverse: f32) -> f32 {
    let v = w * inverse;
    let v = if v > -127.0 { v } else { -127.0 };
    round_half_even(if v < 127.0 { v } else { 127.0 })
}

fn error(block: &Block, step: f32) -> f32 {
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    sum(&block.w, &block.h, |w, h| {
        let off = w - step * quant(w, inverse);
        h * (off * off)
    })
}

/// The row scale of least squared error for these block scales and their quants.
fn refit(blocks: &[Block], fit: &Fit) -> f32 {
    let (mut along, mut square) = (0.0f64, 0.0f64);
    for (block, s) in blocks.iter().zip(&fit.scales) {
        let s = f32::from(*s);
        for ((q, w), h) in quants(block, fit.scale * s).iter().zip(&block.w).zip(&block.h) {
            let (level, h) = (f64::from(s * q), f64::from(*h));
            along += h * level * f64::from(*w);
            square += h * level * level;
        }
    }
    if square > 0.0 { (along / square) as f32 } else { fit.scale }
}
