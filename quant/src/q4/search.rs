//! The quantiser of `q4`.
//!
//! A row is fitted in three steps, all of which minimise `Σ importance * (w - decoded)²`:
//!
//! ```text
//! 1. grids    for every block, the best grids `a * q + b` of 16 levels with free a and b:
//!             quantise to grids over a raster of ranges somewhat narrower than the block's, and refit a and b to the
//!             quants by least squares; keep the few best
//! 2. heads    row_scale = the step whose multiples 0..=255 suit the a best; row_min likewise for -b
//! 3. descent  for every block, from every grid kept: integers s nearby, m refitted to each, then single steps in
//!             s and m while they help; then row_scale and row_min by least squares; repeat while it helps
//! ```
//!
//! Minima are counted downward from 0, so that a block of positive weights far from 0 has no good grid. Steps 2 and 3
//! are therefore also run on the negated row (its scale and minimum are then negative): the better of the two stays.
//! For ordinary rows this is a second draw of how offsets round.

use super::{HEAD_BYTES, RowHead, tile_bytes, write_block, write_head};
use crate::search::{Block, Row, check, common_step, sums};
use crate::{BLOCK, QuantiseError, round_half_even};

/// Grids kept per block.
const KEPT: usize = 2;
/// How much of the half-range step 1 cuts off either end: the raster's numbers of steps and their width.
const CUTS: usize = 8;
const CUT: f32 = 0.025;
/// Integer scales tried on either side of a grid's own.
const REACH: i32 = 2;
/// Times that the row's head and the blocks are fitted to each other.
const ROUNDS: usize = 4;
/// The highest level.
const TOP: f32 = 15.0;

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
    debug_assert!(out.len() >= HEAD_BYTES);
    out.fill(0);
    for (lane, weights) in rows.iter().enumerate() {
        let Some(mut row) = Row::new(weights, importance) else {
            continue;
        };
        let mut grids: Vec<[Grid; KEPT]> = row.blocks.iter().map(grids).collect();
        let up = fit_row(&row.blocks, &grids);
        row.negate();
        grids.iter_mut().flatten().for_each(Grid::negate);
        let down = fit_row(&row.blocks, &grids);
        let sign = if down.error < up.error { -1.0 } else { 1.0 };
        let fit = if sign < 0.0 {
            down
        } else {
            row.negate();
            up
        };
        let unit = sign * row.unit;
        let head = RowHead { scale: (f64::from(fit.scale) * unit) as f32, min: (f64::from(fit.min) * unit) as f32 };
        write_head(out, lane, head);
        for (b, (code, block)) in fit.codes.iter().zip(&row.blocks).enumerate() {
            let (a, offset) = fit.grid(*code);
            let mut quants = quants(block, a, offset).map(|q| q as u8);
            quants[block.len..].fill(0);
            write_block(out, lane, b, code.s, code.m, &quants);
        }
    }
    Ok(())
}

impl Row {
    fn negate(&mut self) {
        self.blocks.iter_mut().flat_map(|block| &mut block.w).for_each(|w| *w = -*w);
    }
}

/// Levels `a * q + b`, and how much a squared change of `a` costs when `b` follows it.
#[derive(Clone, Copy, Debug)]
struct Grid {
    a: f32,
    b: f32,
    stiffness: f32,
    error: f32,
}

impl Grid {
    /// The same levels for negated weights.
    fn negate(&mut self) {
        self.b = -(self.b + TOP * self.a);
    }
}

/// What is stored per block.
#[derive(Clone, Copy, Debug)]
struct Code {
    s: u8,
    m: u8,
}

/// What is stored per row.
#[derive(Clone, Debug)]
struct Fit {
    scale: f32,
    min: f32,
    codes: Vec<Code>,
    error: f64,
}

impl Fit {
    fn grid(&self, code: Code) -> (f32, f32) {
        (self.scale * f32::from(code.s), -(self.min * f32::from(code.m)))
    }
}

/// The quant nearest to a weight that is `v` steps above the lowest level.
fn quant(v: f32) -> f32 {
    let v = if v > 0.0 { v } else { 0.0 };
    round_half_even(if v < TOP { v } else { TOP })
}

/// The quants of a block, as floats; all 0 for a step of 0.
fn quants(block: &Block, a: f32, b: f32) -> [f32; BLOCK] {
    let inverse = if a > 0.0 { 1.0 / a } else { 0.0 };
    block.w.map(|w| quant((w - b) * inverse))
}

/// Sums over a block and its quants, each with the importance as a factor.
struct Moments {
    q: f32,
    qq: f32,
    wq: f32,
}

/// Step 1: the best grids of a block, best first.
fn grids(block: &Block) -> [Grid; KEPT] {
    let used = &block.w[..block.len];
    let low = used.iter().fold(f32::INFINITY, |m, w| m.min(*w));
    let high = used.iter().fold(f32::NEG_INFINITY, |m, w| m.max(*w));
    // In units of the block: -1..=1. Sums of squares then lose nothing to an offset that all weights share.
    let (middle, half) = (0.5 * (low + high), 0.5 * (high - low));
    let flat = Grid { a: 0.0, b: middle, stiffness: 0.0, error: f32::INFINITY };
    let mut best = [flat; KEPT];
    if half < 1e-9 {
        return best;
    }
    let centred = Block { w: block.w.map(|w| (w - middle) / half), ..*block };
    let [h, w, ww] = sums(&centred, |w, h| [h, h * w, h * w * w]);
    let mut offer = |low: f32, a: f32| {
        let m = moments(&centred, low, 1.0 / a);
        let spread = m.qq - m.q * m.q / h;
        if spread <= 0.0 {
            return;
        }
        let along = m.wq - m.q * w / h;
        let a = along / spread;
        let b = (w - a * m.q) / h;
        let error = ww - w * w / h - a * along;
        // Grids with the same quants have the same sums, and so the same step to the bit.
        let grid = Grid { a: a * half, b: middle + b * half, stiffness: spread, error };
        if a > 0.0 && best.iter().all(|kept| kept.a != grid.a) {
            let mut grid = grid;
            for kept in &mut best {
                if grid.error < kept.error {
                    core::mem::swap(kept, &mut grid);
                }
            }
        }
    };
    for i in 0..CUTS {
        for j in 0..CUTS {
            let (low, high) = (-1.0 + CUT * i as f32, 1.0 - CUT * j as f32);
            offer(low, (high - low) / TOP);
        }
    }
    // Weights that are on a grid already, of which they use only the middle levels.
    for levels in 1..15 {
        offer(-1.0, 2.0 / levels as f32);
    }
    best
}

/// The sums for quants of steps `1 / inverse` above `low`.
#[inline]
fn moments(block: &Block, low: f32, inverse: f32) -> Moments {
    let [q, qq, wq] = sums(block, |w, h| {
        let q = quant((w - low) * inverse);
        [h * q, h * q * q, h * q * w]
    });
    Moments { q, qq, wq }
}

/// Steps 2 and 3.
fn fit_row(blocks: &[Block], grids: &[[Grid; KEPT]]) -> Fit {
    let grids: Vec<[Grid; KEPT]> = blocks.iter().zip(grids).map(|(block, kept)| storable(block, kept)).collect();
    let steps: Vec<(f32, f32)> = grids.iter().map(|g| (g[0].a, g[0].stiffness)).collect();
    let offsets: Vec<(f32, f32)> = grids.iter().map(|g| ((-g[0].b).max(0.0), 1.0)).collect();
    let mut best = Fit { scale: common_step(&steps, 255), min: common_step(&offsets, 255), codes: Vec::new(), error: 0.0 };
    for (block, kept) in blocks.iter().zip(&grids) {
        let (error, code) = code_block(block, kept, best.scale, best.min);
        best.error += f64::from(error);
        best.codes.push(code);
    }
    for _ in 1..ROUNDS {
        let Some(mut next) = refit(blocks, &best) else {
            break;
        };
        for (block, code) in blocks.iter().zip(&mut next.codes) {
            let error = error(block, next.scale, next.min, *code).0;
            let (error, better) = descend(block, next.scale, next.min, error, *code);
            *code = better;
            next.error += f64::from(error);
        }
        if next.error >= best.error {
            break;
        }
        best = next;
    }
    best
}

/// The grids kept, those above 0 replaced by the best ones from 0 upward: a minimum cannot lift a grid.
fn storable(block: &Block, kept: &[Grid; KEPT]) -> [Grid; KEPT] {
    if kept.iter().all(|grid| grid.b <= 0.0) {
        return *kept;
    }
    let high = block.w.iter().fold(0.0f32, |m, w| m.max(*w));
    if high < 1e-9 {
        return kept.map(|grid| Grid { b: grid.b.min(0.0), ..grid });
    }
    let mut best = Grid { a: high / TOP, b: 0.0, stiffness: 1.0, error: f32::INFINITY };
    for j in 0..2 * CUTS {
        let m = moments(block, 0.0, TOP / (high * (1.0 - 0.5 * CUT * j as f32)));
        let a = m.wq / m.qq;
        // The error, but for the squares of the weights.
        if -a * m.wq < best.error {
            best = Grid { a, b: 0.0, stiffness: m.qq, error: -a * m.wq };
        }
    }
    kept.map(|grid| if grid.b > 0.0 { best } else { grid })
}

/// The best code of a block that is near one of its grids.
fn code_block(block: &Block, kept: &[Grid; KEPT], scale: f32, min: f32) -> (f32, Code) {
    let mut best = (f32::INFINITY, Code { s: 0, m: 0 });
    let mut offer = |code: Code| {
        let (error, mean) = error(block, scale, min, code);
        if error < best.0 {
            best = (error, code);
        }
        mean
    };
    for grid in kept {
        let s0 = if scale > 0.0 { round_half_even((grid.a / scale).min(255.0)) as i32 } else { 0 };
        for s in s0 - REACH..=s0 + REACH {
            let s = s.clamp(0, 255) as u8;
            // The middle of the grid stays where it is.
            let b = grid.b + 0.5 * TOP * (grid.a - scale * f32::from(s));
            let m = nearest_min(b, min);
            let mean = offer(Code { s, m });
            let refitted = nearest_min(mean - min * f32::from(m), min);
            if refitted != m {
                offer(Code { s, m: refitted });
            }
        }
    }
    descend(block, scale, min, best.0, best.1)
}

/// The m whose offset is nearest to `b`.
fn nearest_min(b: f32, min: f32) -> u8 {
    if min > 0.0 { round_half_even((-b / min).clamp(0.0, 255.0)) as u8 } else { 0 }
}

/// Steps by one in s, m or both while that helps.
fn descend(block: &Block, scale: f32, min: f32, mut least: f32, mut code: Code) -> (f32, Code) {
    loop {
        let centre = code;
        for (ds, dm) in [(0, 1), (0, -1), (1, 1), (-1, -1), (1, 0), (-1, 0), (1, -1), (-1, 1)] {
            let (Some(s), Some(m)) = (centre.s.checked_add_signed(ds), centre.m.checked_add_signed(dm)) else {
                continue;
            };
            let error = error(block, scale, min, Code { s, m }).0;
            if error < least {
                (least, code) = (error, Code { s, m });
            }
        }
        if code.s == centre.s && code.m == centre.m {
            return (least, code);
        }
    }
}

/// The squared error of a block under a code, and by how much the weights are above what is decoded, on average.
#[inline]
fn error(block: &Block, scale: f32, min: f32, code: Code) -> (f32, f32) {
    let (a, b) = (scale * f32::from(code.s), -(min * f32::from(code.m)));
    let inverse = if a > 0.0 { 1.0 / a } else { 0.0 };
    let [error, off, h] = sums(block, |w, h| {
        let above = w - b;
        let off = above - a * quant(above * inverse);
        [h * (off * off), h * off, h]
    });
    (error, off / h)
}

/// The head of least squared error for these codes and their quants; the error is left to the caller.
fn refit(blocks: &[Block], fit: &Fit) -> Option<Fit> {
    // Unknown scale and min: w = scale * (s q) + min * (-m).
    let (mut xx, mut xy, mut yy, mut xw, mut yw) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (block, code) in blocks.iter().zip(&fit.codes) {
        let (a, b) = fit.grid(*code);
        let (s, y) = (f64::from(code.s), -f64::from(code.m));
        let (mut h0, mut hq, mut hqq, mut hw, mut hqw) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for ((q, w), h) in quants(block, a, b).iter().zip(&block.w).zip(&block.h) {
            let (q, w, h) = (f64::from(*q), f64::from(*w), f64::from(*h));
            h0 += h;
            hq += h * q;
            hqq += h * q * q;
            hw += h * w;
            hqw += h * q * w;
        }
        xx += s * s * hqq;
        xy += s * y * hq;
        yy += y * y * h0;
        xw += s * hqw;
        yw += y * hw;
    }
    let determinant = xx * yy - xy * xy;
    let (scale, min) = if determinant > 1e-12 * xx * yy {
        ((xw * yy - yw * xy) / determinant, (yw * xx - xw * xy) / determinant)
    } else if xx > 0.0 {
        (xw / xx, 0.0)
    } else {
        return None;
    };
    let (scale, min) = (scale as f32, min as f32);
    (scale > 0.0 && min >= 0.0).then(|| Fit { scale, min, codes: fit.codes.clone(), error: 0.0 })
}
