//! Activations: int8 per token, one f32 scale per group of inputs, and the sum of every block.
//!
//! For a group `x[0..GROUP]`, with `peak = max |x|`:
//!
//! ```text
//! peak < TINY:  scale = 0, all q = 0
//! otherwise:    scale = peak / 127,  q = round_half_even(clamp(x * (127 / peak), -127, 127))
//! ```
//!
//! A token of `cols` inputs is stored padded: `q: [i8; padded(cols)]`, `scales: [f32; groups(cols)]`,
//! `sums: [i16; padded(cols) / 32]`, where `sums[b]` is the sum of the 32 quants of block `b`. Padding quants are 0.

use crate::{BLOCK, UNIT};

/// Inputs that share one activation scale. A multiple of [`UNIT`], at most 256 (the overflow bounds of `q4` and
/// `q8` are written for 256).
pub const GROUP: usize = 128;
/// Below this peak a group is stored as zeros: its reciprocal would leave the range of f32.
pub const TINY: f32 = 1e-30;
/// The largest quant; the smallest is its negative.
pub const QUANT_MAX: i8 = 127;

const _: () = assert!(GROUP % UNIT == 0 && GROUP <= 256);

/// Quants stored for `cols` inputs: `cols` rounded up to a whole unit.
#[must_use]
pub const fn padded(cols: usize) -> usize {
    cols.next_multiple_of(UNIT)
}

/// Scales stored for `cols` inputs. The last group may be shorter.
#[must_use]
pub const fn groups(cols: usize) -> usize {
    padded(cols).div_ceil(GROUP)
}

/// Block sums stored for `cols` inputs.
#[must_use]
pub const fn blocks(cols: usize) -> usize {
    padded(cols) / BLOCK
}
