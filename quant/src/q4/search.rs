//! The quantiser of `q4`.
//!
//! A row is fitted in three steps, all of which minimise `Σ importance * (w - decoded)²`:
//!
//! ```text
//! 1. grids    for every block, the best grids `a * q + b` of 16 levels with free a and b:
//!             quantise to grids over a raster of ranges somewhat narrower than the block's, and refit a and b to the
//!             quants by least squares; keep the few best
//! 2. heads    row_scale = the step whose multiples 0..=255 suit the a best; row_min likewise for -b
//! 3. codes    for every block, from every grid kept: integers s nearby, with the m that suits each; then single steps
//!             in s and m while they help
//! ```
//!
//! The last step sees the head as it is stored, so that only the 8-bit grain of s and m is left to be paid for, and most
//! of that is made up for by choosing both together. Refitting the head to the codes gains nothing worth having.
//!
//! Minima are counted downward from 0, so that a block of positive weights far from 0 has no good grid. Steps 2 and 3
//! are therefore also run on the negated row (its scale and minimum are then negative), and the better of the two is
//! stored. For ordinary rows this is a second draw of how offsets round.

use super::{RowHead, tile_bytes, write_block, write_head};
use crate::search::{Block, Row, check, common_step, sum};
use crate::{QuantiseError, round_half_even};

/// Grids kept per block.
const KEPT: usize = 4;
/// How much of the half-range step 1 cuts off either end: the raster's numbers of steps and their width.
const CUTS: usize = 6;
const CUT: f32 = 0.03;
/// Integer scales tried on either side of a grid's own.
const REACH: i32 = 1;
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
    out.fill(0);
    for (lane, weights) in rows.iter().enumerate() {
        let Some(mut row) = Row::new(weights, importance) else {
            continue;
        };
        let mut grids: Vec<[Grid; KEPT]> = row.blocks.iter().map(grids).collect();
        let (plain, searched) = (plain_fit(&row.blocks), fit_row(&row.blocks, &grids));
        let up = if plain.error < searched.error { plain } else { searched };
        row.negate();
        grids.iter_mut().flatten().for_each(Grid::negate);
        let down = fit_row(&row.blocks, &grids);
        let (sign, fit) = if down.error < up.error {
            (-1.0, down)
        } else {
            row.negate();
            (1.0, up)
        };
        let unit = sign * row.unit;
        let head = RowHead { scale: (f64::from(fit.scale) * unit) as f32, min: (f64::from(fit.min) * unit) as f32 };
        write_head(out, lane, head);
        for (b, (code, block)) in fit.codes.iter().zip(&row.blocks).enumerate() {
            let (_, offset, inverse) = steps(fit.scale, fit.min, *code);
            let mut quants = block.w.map(|w| quant((w - offset) * inverse) as u8);
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

/// Levels `a * q + b`.
#[derive(Clone, Copy, Debug)]
struct Grid {
    a: f32,
    b: f32,
    /// The highest q in use.
    top: f32,
    /// How much a squared change of `a` costs when `b` follows it.
    stiffness: f32,
    error: f32,
}

impl Grid {
    /// The same levels for negated weights, the lowest one in use at q = 0 again.
    fn negate(&mut self) {
        self.b = -(self.b + self.top * self.a);
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

/// The quant nearest to a weight that is `v` steps above the lowest level.
fn quant(v: f32) -> f32 {
    let v = if v > 0.0 { v } else { 0.0 };
    round_half_even(if v < TOP { v } else { TOP })
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
    let flat = Grid { a: 0.0, b: middle, top: TOP, stiffness: 0.0, error: f32::INFINITY };
    let mut best = [flat; KEPT];
    if half < 1e-9 {
        return best;
    }
    let centred = Block { w: block.w.map(|w| (w - middle) / half), ..*block };
    let h = centred.total;
    let w = sum(&centred.w, &centred.h, |w, h| h * w);
    let ww = sum(&centred.w, &centred.h, |w, h| h * w * w);
    let mut offer = |low: f32, high: f32, top: f32, margin: f32| {
        let m = moments(&centred, low, top / (high - low));
        let spread = m.qq - m.q * m.q / h;
        if spread <= 0.0 {
            return;
        }
        let along = m.wq - m.q * w / h;
        let a = along / spread;
        let b = (w - a * m.q) / h;
        let error = ww - w * w / h - a * along;
        // Grids with the same quants have the same sums, and so the same step to the bit.
        let grid = Grid { a: a * half, b: middle + b * half, top, stiffness: spread, error };
        if a > 0.0 && best.iter().all(|kept| kept.a != grid.a) {
            let mut grid = grid;
            for kept in &mut best {
                if grid.error + margin < kept.error {
                    core::mem::swap(kept, &mut grid);
                }
            }
        }
    };
    for i in 0..CUTS {
        for j in 0..CUTS {
            offer(-1.0 + CUT * i as f32, 1.0 - CUT * j as f32, TOP, 0.0);
        }
    }
    // Weights that are on a grid already and do not use all of its levels. Only where that is no accident of rounding:
    // the largest step of a row makes the scales of its other blocks coarse.
    for top in (1u8..15).rev() {
        offer(-1.0, 1.0, f32::from(top), 1e-6 * ww);
    }
    best
}

/// The sums for quants of steps `1 / inverse` above `low`.
#[inline]
fn moments(block: &Block, low: f32, inverse: f32) -> Moments {
    let quants = block.w.map(|w| quant((w - low) * inverse));
    let mut weighted = quants;
    weighted.iter_mut().zip(&block.h).for_each(|(q, h)| *q *= h);
    let q = sum(&weighted, &quants, |hq, _| hq);
    let qq = sum(&weighted, &quants, |hq, q| hq * q);
    let wq = sum(&weighted, &block.w, |hq, w| hq * w);
    Moments { q, qq, wq }
}

/// Steps 2 and 3.
fn fit_row(blocks: &[Block], grids: &[[Grid; KEPT]]) -> Fit {
    let grids: Vec<[Grid; KEPT]> = blocks.iter().zip(grids).map(|(block, kept)| storable(block, kept)).collect();
    let steps: Vec<(f32, f32)> = grids.iter().map(|g| (g[0].a, g[0].stiffness)).collect();
    let offsets: Vec<(f32, f32)> = blocks.iter().zip(&grids).map(|(block, g)| ((-g[0].b).max(0.0), block.total)).collect();
    let mut fit = Fit { scale: common_step(&steps, 255), min: common_step(&offsets, 255), codes: Vec::new(), error: 0.0 };
    for (block, kept) in blocks.iter().zip(&grids) {
        let (error, code) = code_block(block, kept, fit.scale, fit.min);
        fit.error += f64::from(error);
        fit.codes.push(code);
    }
    fit
}

/// Steps and minima that just cover every block, from its largest and smallest weight. In one row of many thousands, of
/// few blocks, the search ends above this by a little.
fn plain_fit(blocks: &[Block]) -> Fit {
    let bounds = |b: &Block| b.w.iter().fold((0.0f32, 0.0f32), |(low, high), w| (low.min(*w), high.max(*w)));
    let bounds: Vec<(f32, f32)> = blocks.iter().map(bounds).collect();
    let step = |(low, high): (f32, f32)| (high - low) / TOP;
    let scale = bounds.iter().fold(0.0f32, |m, b| m.max(step(*b))) / 255.0;
    let min = bounds.iter().fold(0.0f32, |m, b| m.max(-b.0)) / 255.0;
    let cover = |v: f32, unit: f32| if unit > 0.0 { (v / unit).ceil().min(255.0) as u8 } else { 0 };
    let codes: Vec<Code> = bounds.iter().map(|b| Code { s: cover(step(*b), scale), m: cover(-b.0, min) }).collect();
    let errors = blocks.iter().zip(&codes).map(|(block, code)| f64::from(error(block, scale, min, *code)));
    Fit { scale, min, error: errors.sum(), codes }
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
    let mut best = Grid { a: high / TOP, b: 0.0, top: TOP, stiffness: 1.0, error: f32::INFINITY };
    for j in 0..2 * CUTS {
        let m = moments(block, 0.0, TOP / (high * (1.0 - 0.5 * CUT * j as f32)));
        let a = m.wq / m.qq;
        // The error, but for the squares of the weights.
        if -a * m.wq < best.error {
            best = Grid { a, b: 0.0, top: TOP, stiffness: m.qq, error: -a * m.wq };
        }
    }
    kept.map(|grid| if grid.b > 0.0 { best } else { grid })
}

/// The best code of a block that is near one of its grids.
fn code_block(block: &Block, kept: &[Grid; KEPT], scale: f32, min: f32) -> (f32, Code) {
    let mut best = (f32::INFINITY, Code { s: 0, m: 0 });
    let mut offer = |code: Code| {
        let error = error(block, scale, min, code);
        if error < best.0 {
            best = (error, code);
        }
    };
    for grid in kept {
        let s0 = if scale > 0.0 { round_half_even((grid.a / scale).min(255.0)) as i32 } else { 0 };
        for s in s0 - REACH..=s0 + REACH {
            let s = s.clamp(0, 255) as u8;
            // The middle of the grid stays where it is.
            let b = grid.b + 0.5 * TOP * (grid.a - scale * f32::from(s));
            let m = nearest_min(b, min);
            offer(Code { s, m });
            let refitted = nearest_min(best_offset(block, scale, min, Code { s, m }), min);
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
            let error = error(block, scale, min, Code { s, m });
            if error < least {
                (least, code) = (error, Code { s, m });
            }
        }
        if code.s == centre.s && code.m == centre.m {
            return (least, code);
        }
    }
}

/// The squared error of a block under a code.
#[inline]
fn error(block: &Block, scale: f32, min: f32, code: Code) -> f32 {
    let (a, b, inverse) = steps(scale, min, code);
    sum(&block.w, &block.h, |w, h| {
        let above = w - b;
        let off = above - a * quant(above * inverse);
        h * (off * off)
    })
}

/// The offset that suits the quants of a block under a code best.
#[inline]
fn best_offset(block: &Block, scale: f32, min: f32, code: Code) -> f32 {
    let (a, b, inverse) = steps(scale, min, code);
    sum(&block.w, &block.h, |w, h| h * (w - a * quant((w - b) * inverse))) / block.total
}

/// Step and offset of a code, and the inverse of the step or 0.
fn steps(scale: f32, min: f32, code: Code) -> (f32, f32, f32) {
    let a = scale * f32::from(code.s);
    (a, -(min * f32::from(code.m)), if a > 0.0 { 1.0 / a } else { 0.0 })
}
