//! `q8`: 8.25 bits a weight and 32 bits a row.
//!
//! A weight is `row_scale * s * q` with `q` in -127..=127 and one `s` (u8) per row and block of 32 inputs.
//! A tile of 8 rows is stored as
//!
//! ```text
//! tile  = head, unit, unit, ...          one unit per 64 inputs
//! head  = row_scale: [f32; 8]            32 bytes, little-endian
//! unit  = quants: [[i8; 32]; 16]         load l covers inputs 4l..4l+4 of the unit: byte 4r+j = row r, input 4l+j
//!         scales: [u8; 16]               byte 8b+r = s of row r, block b
//! ```
//!
//! Rows and columns that only pad hold zeros everywhere.
//!
//! **Why nothing overflows.** A pair of products is at most 2 * 127 * 127 = 32,258 < 32,768, so that it fits a
//! 16-bit lane (two pairs would not). A block times its scale: 32 * 16,129 * 255 = 131,612,640; over the eight
//! blocks of the largest activation group (256 inputs) 1,052,901,120 < 2^31.

#[cfg(feature = "std")]
mod search;

#[cfg(feature = "std")]
pub use search::quantise_tile;

use crate::{BLOCK, LANES, UNIT};

/// Bytes of a tile's head.
pub const HEAD_BYTES: usize = 4 * LANES;
/// Bytes of a unit's quants.
pub const QUANT_BYTES: usize = UNIT * LANES;
/// Offset of the scales in a unit.
pub const SCALES_AT: usize = QUANT_BYTES;
/// Bytes of a unit: 64 inputs of 8 rows.
pub const UNIT_BYTES: usize = SCALES_AT + 2 * LANES;
/// The largest quant; the smallest is its negative. The quantiser never makes -128; the bounds above
/// hold for it too: a pair is then at most 32,512, eight blocks 1,061,191,680.
pub const QUANT_MAX: i8 = 127;

const _: () = assert!(UNIT_BYTES == 528 && UNIT_BYTES * 8 * 4 == UNIT * LANES * 33);

/// Bytes of a tile of 8 rows and `cols` inputs; `None` on overflow.
#[must_use]
pub const fn tile_bytes(cols: usize) -> Option<usize> {
    match cols.div_ceil(UNIT).checked_mul(UNIT_BYTES) {
        Some(units) => units.checked_add(HEAD_BYTES),
        None => None,
    }
}

/// The scale of row `lane` of a tile.
///
/// # Panics
/// If `tile` is shorter than a head or `lane` is not below 8.
#[must_use]
pub fn row_scale(tile: &[u8], lane: usize) -> f32 {
    crate::float::f32_at(tile, 4 * lane)
}

/// Where input `col` of row `lane` stands in a unit.
#[must_use]
pub const fn quant_at(lane: usize, col: usize) -> usize {
    (col / 4) * 32 + 4 * lane + col % 4
}

/// Where the scale of row `lane` and block `block` (0 or 1) stands in a unit.
#[must_use]
pub const fn scale_at(lane: usize, block: usize) -> usize {
    SCALES_AT + LANES * block + lane
}

/// Decodes row `lane` of a tile into `out`, whose length is the number of columns.
///
/// # Panics
/// If `tile` is shorter than `tile_bytes(out.len())` or `lane` is not below 8.
pub fn read_row(tile: &[u8], lane: usize, out: &mut [f32]) {
    let row_scale = row_scale(tile, lane);
    for (unit, values) in tile[HEAD_BYTES..].chunks_exact(UNIT_BYTES).zip(out.chunks_mut(UNIT)) {
        for (col, value) in values.iter_mut().enumerate() {
            let q = f32::from(i8::from_le_bytes([unit[quant_at(lane, col)]]));
            *value = row_scale * (f32::from(unit[scale_at(lane, col / BLOCK)]) * q);
        }
    }
}

/// Writes the scale of row `lane` of a tile.
///
/// # Panics
/// If `tile` is shorter than a head or `lane` is not below 8.
pub fn write_head(tile: &mut [u8], lane: usize, row_scale: f32) {
    tile[4 * lane..][..4].copy_from_slice(&row_scale.to_le_bytes());
}

/// Writes block `block` of row `lane` of a tile, `block` counted from the start of the row.
///
/// # Panics
/// If `tile` ends before that block, `lane` is not below 8, or a quant is -128.
pub fn write_block(tile: &mut [u8], lane: usize, block: usize, s: u8, quants: &[i8; BLOCK]) {
    let (unit, block) = (HEAD_BYTES + block / 2 * UNIT_BYTES, block % 2);
    let unit = &mut tile[unit..][..UNIT_BYTES];
    unit[scale_at(lane, block)] = s;
    for (col, &q) in quants.iter().enumerate() {
        assert!(q >= -QUANT_MAX, "a quant of -128");
        unit[quant_at(lane, block * BLOCK + col)] = q.to_le_bytes()[0];
    }
}

/// Whether `tile` is whole units behind a head whose floats are all finite, and no quant is -128.
#[must_use]
pub fn check_tile(tile: &[u8]) -> bool {
    const LOWEST: u8 = i8::MIN.to_le_bytes()[0];
    let Some((head, units)) = tile.split_at_checked(HEAD_BYTES) else {
        return false;
    };
    // No early exit within a unit: so that it compiles to vector compares.
    let clean = |unit: &[u8]| unit[..QUANT_BYTES].iter().fold(true, |ok, &q| ok & (q != LOWEST));
    units.len().is_multiple_of(UNIT_BYTES)
        && head.chunks_exact(4).all(|value| crate::float::f32_at(value, 0).is_finite())
        && units.chunks_exact(UNIT_BYTES).all(clean)
}
