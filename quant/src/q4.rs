//! `q4`: 4.5 bits a weight and 64 bits a row.
//!
//! A weight is `row_scale * s * q - row_min * m` with `q` in 0..=15 and one `s` and one `m` (both u8) per row and
//! block of 32 inputs. A tile of 8 rows is stored as
//!
//! ```text
//! tile  = head, unit, unit, ...                    one unit per 64 inputs
//! head  = row_scale: [f32; 8], row_min: [f32; 8]   64 bytes, little-endian
//! unit  = quants: [[u8; 32]; 8]                    load l covers inputs 8l..8l+8 of the unit:
//!                                                  byte 4r+j = row r; low nibble input 8l+j, high nibble input 8l+4+j
//!         scales: [u8; 16]                         byte 8b+r = s of row r, block b
//!         mins:   [u8; 16]                         byte 2r+b = m of row r, block b
//! ```
//!
//! `row_scale` and `row_min` are any finite floats; a row whose blocks lie above 0 is written with both negative.
//! Rows and columns that only pad hold zeros everywhere: `q`, `s`, `m`, `row_scale`, `row_min`.
//!
//! **Why nothing overflows.** With activations in -127..=127 a product `q * x` is at most 1,905 in size, a pair
//! 3,810, and eight pairs, which are all that a 16-bit lane adds up in a block, 30,480 < 32,768. Times a scale and
//! summed over a row's block: 32 * 1,905 * 255 = 15,544,800; over the eight blocks of the largest activation group
//! (256 inputs) 124,358,400 < 2^31. Minima: a block sum is at most 4,064, times 255 and eight blocks 8,290,560.

#[cfg(feature = "std")]
mod search;

#[cfg(feature = "std")]
pub use search::quantise_tile;

use crate::{BLOCK, LANES, UNIT};

/// Bytes of a tile's head.
pub const HEAD_BYTES: usize = 2 * 4 * LANES;
/// Bytes of a unit's quants.
pub const QUANT_BYTES: usize = UNIT * LANES / 2;
/// Offset of the scales in a unit.
pub const SCALES_AT: usize = QUANT_BYTES;
/// Offset of the minima in a unit.
pub const MINS_AT: usize = SCALES_AT + 2 * LANES;
/// Bytes of a unit: 64 inputs of 8 rows.
pub const UNIT_BYTES: usize = MINS_AT + 2 * LANES;
/// The largest quant.
pub const QUANT_MAX: u8 = 15;

const _: () = assert!(UNIT_BYTES == 288 && UNIT_BYTES * 8 * 2 == UNIT * LANES * 9);

/// Bytes of a tile of 8 rows and `cols` inputs; `None` on overflow.
#[must_use]
pub const fn tile_bytes(cols: usize) -> Option<usize> {
    match cols.div_ceil(UNIT).checked_mul(UNIT_BYTES) {
        Some(units) => units.checked_add(HEAD_BYTES),
        None => None,
    }
}

/// One row of a tile, decoded to its parts. Made by a quantiser, or by [`read_row`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowHead {
    /// Multiplies the block scales.
    pub scale: f32,
    /// Multiplies the block minima; subtracted.
    pub min: f32,
}

/// The head of row `lane` of a tile.
///
/// # Panics
/// If `tile` is shorter than a head or `lane` is not below 8.
#[must_use]
pub fn row_head(tile: &[u8], lane: usize) -> RowHead {
    RowHead { scale: crate::float::f32_at(tile, 4 * lane), min: crate::float::f32_at(tile, 4 * (LANES + lane)) }
}

/// Where input `col` of row `lane` stands in a unit: byte index and shift (0 or 4) of its nibble.
#[must_use]
pub const fn nibble_at(lane: usize, col: usize) -> (usize, u32) {
    ((col / 8) * 32 + 4 * lane + col % 4, if col % 8 < 4 { 0 } else { 4 })
}

/// Where the scale of row `lane` and block `block` (0 or 1) stands in a unit.
#[must_use]
pub const fn scale_at(lane: usize, block: usize) -> usize {
    SCALES_AT + LANES * block + lane
}

/// Where the minimum of row `lane` and block `block` (0 or 1) stands in a unit.
#[must_use]
pub const fn min_at(lane: usize, block: usize) -> usize {
    MINS_AT + 2 * lane + block
}

/// Decodes row `lane` of a tile into `out`, whose length is the number of columns.
///
/// # Panics
/// If `tile` is shorter than `tile_bytes(out.len())` or `lane` is not below 8.
pub fn read_row(tile: &[u8], lane: usize, out: &mut [f32]) {
    let head = row_head(tile, lane);
    for (unit, values) in tile[HEAD_BYTES..].chunks_exact(UNIT_BYTES).zip(out.chunks_mut(UNIT)) {
        for (col, value) in values.iter_mut().enumerate() {
            let (byte, shift) = nibble_at(lane, col);
            let q = f32::from((unit[byte] >> shift) & QUANT_MAX);
            let s = f32::from(unit[scale_at(lane, col / BLOCK)]);
            let m = f32::from(unit[min_at(lane, col / BLOCK)]);
            *value = head.scale * (s * q) - head.min * m;
        }
    }
}

/// Writes the head of row `lane` of a tile.
///
/// # Panics
/// If `tile` is shorter than a head or `lane` is not below 8.
pub fn write_head(tile: &mut [u8], lane: usize, head: RowHead) {
    tile[4 * lane..][..4].copy_from_slice(&head.scale.to_le_bytes());
    tile[4 * (LANES + lane)..][..4].copy_from_slice(&head.min.to_le_bytes());
}

/// Writes block `block` of row `lane` of a tile, `block` counted from the start of the row. Quants above 15 lose
/// their upper bits.
///
/// # Panics
/// If `tile` ends before that block or `lane` is not below 8.
pub fn write_block(tile: &mut [u8], lane: usize, block: usize, s: u8, m: u8, quants: &[u8; BLOCK]) {
    let (unit, block) = (HEAD_BYTES + block / 2 * UNIT_BYTES, block % 2);
    let unit = &mut tile[unit..][..UNIT_BYTES];
    unit[scale_at(lane, block)] = s;
    unit[min_at(lane, block)] = m;
    for (col, q) in quants.iter().enumerate() {
        let (byte, shift) = nibble_at(lane, block * BLOCK + col);
        unit[byte] = unit[byte] & !(QUANT_MAX << shift) | (q & QUANT_MAX) << shift;
    }
}

/// Whether `tile` is whole units behind a head whose floats are all finite. No other bytes are invalid: every
/// quant, scale and minimum is within the range that the overflow bounds above assume.
#[must_use]
pub fn check_tile(tile: &[u8]) -> bool {
    let Some((head, units)) = tile.split_at_checked(HEAD_BYTES) else {
        return false;
    };
    units.len().is_multiple_of(UNIT_BYTES) && head.chunks_exact(4).all(|value| crate::float::f32_at(value, 0).is_finite())
}
