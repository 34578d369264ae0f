//! What the quantisers share: their error, and a row brought to a size where squares neither overflow nor vanish.

use crate::{BLOCK, LANES};

/// Why a tile could not be quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantiseError {
    /// A weight is NaN or infinite. `row` counts within the tile.
    NonFinite {
        /// Row in the tile.
        row: usize,
        /// Column.
        col: usize,
    },
    /// A weight is 2^120 or more in size: what is decoded for it might not be finite.
    TooLarge {
        /// Row in the tile.
        row: usize,
        /// Column.
        col: usize,
    },
    /// An importance is negative, NaN or infinite.
    BadImportance {
        /// Column.
        col: usize,
    },
}

impl core::fmt::Display for QuantiseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            QuantiseError::NonFinite { row, col } => {
                write!(f, "the weight at row {row}, column {col} is not finite")
            }
            QuantiseError::TooLarge { row, col } => {
                write!(f, "the weight at row {row}, column {col} is too large")
            }
            QuantiseError::BadImportance { col } => write!(f, "the importance of column {col} is negative or not finite"),
        }
    }
}

impl core::error::Error for QuantiseError {}

/// Weights of this size and more are refused.
const LIMIT: f32 = f32::from_bits((120 + 127) << 23);
/// A row whose weights are all smaller is stored as zeros: its scales would not be normal numbers.
const FAINT: f32 = 1e-30;
/// The least importance of a column, relative to the greatest: a block that nothing asks for is still fitted.
const LEAST: f64 = 1e-9;

/// 32 weights of a normalised row with their importance. Padding has weight and importance 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) w: [f32; BLOCK],
    pub(crate) h: [f32; BLOCK],
    /// Weights that are not padding.
    pub(crate) len: usize,
    /// The sum of the importance.
    pub(crate) total: f32,
}

/// A row as blocks, times a power of two that brings its largest weight into 0.5..1.
pub(crate) struct Row {
    pub(crate) blocks: Vec<Block>,
    /// Undoes the normalisation of a scale, exactly.
    pub(crate) unit: f64,
}

/// Checks the arguments that both quantisers take.
///
/// # Panics
/// If the slices do not fit together.
pub(crate) fn check(rows: &[&[f32]], importance: Option<&[f32]>) -> Result<usize, QuantiseError> {
    assert!((1..=LANES).contains(&rows.len()), "a tile has 1 to 8 rows");
    let cols = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == cols), "rows of different lengths");
    if let Some(importance) = importance {
        assert_eq!(importance.len(), cols, "importance of every column");
        if let Some(col) = importance.iter().position(|h| !(h.is_finite() && *h >= 0.0)) {
            return Err(QuantiseError::BadImportance { col });
        }
    }
    for (row, weights) in rows.iter().enumerate() {
        if let Some(col) = weights.iter().position(|w| !w.is_finite()) {
            return Err(QuantiseError::NonFinite { row, col });
        }
        if let Some(col) = weights.iter().position(|w| w.abs() >= LIMIT) {
            return Err(QuantiseError::TooLarge { row, col });
        }
    }
    Ok(cols)
}

impl Row {
    /// `None` for a row that is stored as zeros.
    pub(crate) fn new(weights: &[f32], importance: Option<&[f32]>) -> Option<Row> {
        let peak = weights.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        if peak < FAINT {
            return None;
        }
        // The exponent of the peak, as a power of two of its own: both it and its inverse are exact.
        let unit = f64::from(f32::from_bits(peak.to_bits() & 0x7f80_0000)) * 2.0;
        let greatest = importance.map_or(1.0, |h| f64::from(h.iter().fold(0.0f32, |m, v| m.max(*v))));
        let blocks = (0..weights.len().div_ceil(BLOCK)).map(|b| {
            let at = b * BLOCK;
            let len = BLOCK.min(weights.len() - at);
            let mut block = Block { w: [0.0; BLOCK], h: [0.0; BLOCK], len, total: 0.0 };
            for i in 0..len {
                block.w[i] = (f64::from(weights[at + i]) / unit) as f32;
                block.h[i] = match importance {
                    Some(h) if greatest > 0.0 => (f64::from(h[at + i]) / greatest).max(LEAST) as f32,
                    _ => 1.0,
                };
            }
            block.total = sum(&block.h, &block.h, |h, _| h);
            block
        });
        Some(Row { blocks: blocks.collect(), unit })
    }
}

/// The sum over a block of a term for every weight and its importance, in 8 lanes and one fixed tree: the same on every
/// machine. One sum at a time, because that is what compiles to plain vector code.
#[inline(always)]
pub(crate) fn sum(w: &[f32; BLOCK], h: &[f32; BLOCK], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (w, h) in w.as_chunks::<LANES>().0.iter().zip(h.as_chunks::<LANES>().0) {
        for ((lane, w), h) in lanes.iter_mut().zip(w).zip(h) {
            *lane += term(*w, *h);
        }
    }
    tree(lanes)
}

fn tree(v: [f32; LANES]) -> f32 {
    ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
}

/// The step whose multiples are nearest to the values, in squares that have each value's own weight: searched between
/// `greatest / most` and `greatest / (most / 2)`. 0 if all values are.
pub(crate) fn common_step(values: &[(f32, f32)], most: u8) -> f32 {
    let greatest = values.iter().fold(0.0f32, |m, v| m.max(v.0));
    if greatest < 1e-12 {
        return 0.0;
    }
    let mut best = (f32::INFINITY, 0.0);
    for k in (most / 2 + 1..=most).rev() {
        let (step, inverse) = (greatest / f32::from(k), f32::from(k) / greatest);
        let misfit = |&(v, weight): &(f32, f32)| {
            let off = v - step * crate::round_half_even(v * inverse);
            weight * (off * off)
        };
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += misfit(value);
            }
        }
        let total = rest.iter().fold(tree(lanes), |sum, value| sum + misfit(value));
        if total < best.0 {
            best = (total, step);
        }
    }
    best.1
}
