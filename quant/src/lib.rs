//! Kinglet's number formats and the law that goes with them.
//!
//! This crate says what every stored byte means: how many bits, in which order, within which range.
//! It has no kernels (those live in `kinglet::kernels`) and no container (that is `kinglet::format`).
//! Everything here is `no_std`, allocation-free and free of `unsafe`; feature `std` adds the quantisers.
//!
//! A matrix has `rows` outputs and `cols` inputs: `y[row] = Σ w[row][col] * x[col]`. Quantised matrices are cut
//! into tiles of [`LANES`] rows and units of [`UNIT`] inputs; a lane of a vector register is an output row, so
//! that no sum ever crosses lanes and the order of every sum is the same on every machine.
//!
//! ```
//! use kinglet_quant::DType;
//! assert_eq!(DType::Q4.matrix_bytes(16, 128), Some(2 * (64 + 2 * 288)));
//! ```
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![forbid(unsafe_code)]

pub mod act;
pub mod float;
#[cfg(feature = "std")]
pub mod metrics;
pub mod q4;
pub mod q8;
#[cfg(feature = "std")]
mod search;

#[cfg(feature = "std")]
pub use search::QuantiseError;

/// Rows in a tile: one per 32-bit lane of a 256-bit register.
pub const LANES: usize = 8;
/// Inputs that share one scale (and, in q4, one minimum) in a row.
pub const BLOCK: usize = 32;
/// Inputs in a unit, the smallest stored piece of a tile: two blocks. Columns are padded with zeros to a multiple.
pub const UNIT: usize = 2 * BLOCK;

/// The element type of a stored tensor. The discriminants are those of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// IEEE binary32, row-major.
    F32 = 0,
    /// IEEE binary16, row-major.
    F16 = 1,
    /// Signed 8-bit in -127..=127, one u8 scale per block, one f32 per row: see [`q8`].
    Q8 = 2,
    /// Unsigned 4-bit, one u8 scale and one u8 minimum per block, two f32 per row: see [`q4`].
    Q4 = 3,
}

impl DType {
    /// Every type, in the order of the discriminants.
    pub const ALL: [DType; 4] = [DType::F32, DType::F16, DType::Q8, DType::Q4];

    /// The type with this discriminant.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<DType> {
        match value {
            0 => Some(DType::F32),
            1 => Some(DType::F16),
            2 => Some(DType::Q8),
            3 => Some(DType::Q4),
            _ => None,
        }
    }

    /// The name that users type: `f32`, `f16`, `q8`, `q4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Q8 => "q8",
            DType::Q4 => "q4",
        }
    }

    /// Whether the matrix kernels of this type take int8 activations.
    #[must_use]
    pub const fn is_quantised(self) -> bool {
        matches!(self, DType::Q8 | DType::Q4)
    }

    /// Bytes that a `rows` × `cols` matrix of this type takes in the file; `None` on overflow of `usize`.
    #[must_use]
    pub const fn matrix_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match self {
            DType::F32 => match rows.checked_mul(cols) {
                Some(n) => n.checked_mul(4),
                None => None,
            },
            DType::F16 => match rows.checked_mul(cols) {
                Some(n) => n.checked_mul(2),
                None => None,
            },
            DType::Q8 => match q8::tile_bytes(cols) {
                Some(tile) => tile.checked_mul(rows.div_ceil(LANES)),
                None => None,
            },
            DType::Q4 => match q4::tile_bytes(cols) {
                Some(tile) => tile.checked_mul(rows.div_ceil(LANES)),
                None => None,
            },
        }
    }
}

impl core::fmt::Display for DType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// `n` rounded up to a multiple of `step`; `None` on overflow.
#[must_use]
pub const fn round_up(n: usize, step: usize) -> Option<usize> {
    n.checked_next_multiple_of(step)
}

/// `v` rounded to an integer, half to even. Exact for `|v|` up to 2^22, where the sum below has no fraction bits left.
fn round_half_even(v: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23
    (v + MAGIC) - MAGIC
}
