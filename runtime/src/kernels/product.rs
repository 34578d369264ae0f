//! Products of quantised weights with int8 activations on vector machines: the walk over tiles and tokens, written once.
//!
//! An instruction set supplies a [`Product`] for each type of weights: the sums of one register tile, which is some
//! registers of rows times some tokens. Everything here is `#[inline(always)]`, so that each entry of a table compiles
//! it with its own features.

use super::{check_quantised, prefetch};
use crate::tensor::{Acts, Matrix, Outputs};
use core::ops::Range;
use kinglet_quant::{BLOCK, DType, LANES, UNIT, act};

/// A type of weights on an instruction set.
pub(super) trait Product {
    /// The type.
    const DTYPE: DType;
    /// Bytes of a tile's head.
    const HEAD_BYTES: usize;
    /// Bytes of a tile's unit.
    const UNIT_BYTES: usize;
    /// Tiles whose rows are the lanes of a register: 1 or 2.
    const TILES: usize;
    /// Registers of rows in a register tile of a batch: 1 or 2.
    const REGISTERS: usize;
    /// Tokens in a register tile of a batch: 4, 6, 8 or 16.
    const TOKENS: usize;
    /// The eight lanes of each tile of a register, as f32.
    type Floats: Copy;

    /// The outputs of `P` registers of rows for `T` tokens.
    ///
    /// # Safety
    /// The operands are whole, and the machine has the instructions.
    unsafe fn outputs<const P: usize, const T: usize>(o: &Operands<P>) -> [[Self::Floats; T]; P];

    /// The lanes of each tile.
    ///
    /// # Safety
    /// The machine has the instructions.
    unsafe fn lanes(floats: Self::Floats) -> [[f32; LANES]; 2];
}

/// Vectors of a product that waits for its weights: one token, in at most two terms.
const FEW: usize = 2;
/// Bytes of activations that a tile meets before the next tile does: they stay in the second cache.
const TOKEN_BLOCK_BYTES: usize = 384 << 10;

/// Where the operands of a register tile lie.
pub(super) struct Operands<const P: usize> {
    /// The first tile of each register, head first.
    pub(super) tiles: [*const u8; P],
    /// From there to the second tile; 0 where there is none, so that the first is read twice.
    #[cfg_attr(
        all(target_arch = "aarch64", target_feature = "neon"),
        expect(dead_code, reason = "no register there has rows of two tiles")
    )]
    pub(super) strides: [usize; P],
    quants: *const i8,
    scales: *const f32,
    sums: *const i16,
    /// Inputs of a token with their padding.
    padded: usize,
    /// How far ahead to prefetch weights that are read once; 0: not at all.
    ahead: usize,
}

impl<const P: usize> Operands<P> {
    /// Groups of activations.
    #[inline(always)]
    pub(super) fn groups(&self) -> usize {
        self.padded.div_ceil(act::GROUP)
    }

    /// Units of a tile.
    #[inline(always)]
    pub(super) fn n_units(&self) -> usize {
        self.padded / UNIT
    }

    /// The units of a group.
    #[inline(always)]
    pub(super) fn units(&self, group: usize) -> Range<usize> {
        const UNITS: usize = act::GROUP / UNIT;
        group * UNITS..((group + 1) * UNITS).min(self.n_units())
    }

    /// The blocks of a group.
    #[inline(always)]
    pub(super) fn blocks(&self, group: usize) -> Range<usize> {
        let units = self.units(group);
        units.start * (UNIT / BLOCK)..units.end * (UNIT / BLOCK)
    }

    /// Unit `u` of register `p`.
    #[inline(always)]
    pub(super) unsafe fn unit<Q: Product>(&self, p: usize, u: usize) -> *const u8 {
        // SAFETY: the caller's duty: there is such a unit.
        unsafe { self.tiles[p].add(Q::HEAD_BYTES + u * Q::UNIT_BYTES) }
    }

    /// Activations of token `t` from input `at` on.
    #[inline(always)]
    pub(super) unsafe fn quants(&self, t: usize, at: usize) -> *const i8 {
        // SAFETY: the caller's duty: there are such inputs.
        unsafe { self.quants.add(t * self.padded + at) }
    }

    /// From a token's activations to those of the next.
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        self.padded
    }

    /// The scales of the groups of token `t`.
    #[inline(always)]
    pub(super) unsafe fn scales(&self, t: usize) -> *const f32 {
        // SAFETY: the caller's duty: there is such a token.
        unsafe { self.scales.add(t * self.groups()) }
    }

    /// The scale of a group of token `t`.
    #[inline(always)]
    pub(super) unsafe fn scale(&self, t: usize, group: usize) -> f32 {
        // SAFETY: the caller's duty: there is such a group.
        unsafe { *self.scales(t).add(group) }
    }

    /// The sums of the two blocks of unit `u` of token `t`.
    #[inline(always)]
    pub(super) unsafe fn sums(&self, t: usize, u: usize) -> *const i16 {
        // SAFETY: the caller's duty: there is such a unit.
        unsafe { self.sums.add(t * (self.padded / BLOCK) + u * (UNIT / BLOCK)) }
    }

    /// Prefetches what lies ahead of unit `u`, as many bytes as a register tile has in a unit.
    #[inline(always)]
    pub(super) fn prefetch<Q: Product>(&self, u: usize) {
        if self.ahead > 0 {
            let bytes = P * Q::TILES * Q::UNIT_BYTES;
            prefetch(self.tiles[0].wrapping_add(self.ahead + u * bytes), bytes);
        }
    }
}

/// Fills the tiles of `out`. One token reads the weights but once, and two streams of tiles are what the machine fetches
/// best; in a batch, tiles meet the tokens in as large register tiles as there are.
#[inline(always)]
pub(super) fn matmul<Q: Product>(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>) {
    check_quantised(Q::DTYPE, w, x, out);
    let registers = if x.tokens() <= FEW { 2 / Q::TILES } else { Q::REGISTERS };
    let tiles = out.tiles();
    if x.tokens() == 0 {
        return;
    }
    // As many blocks as needed, of the same length up to whole register tiles.
    let blocks = (x.tokens() * act::padded(x.cols())).div_ceil(TOKEN_BLOCK_BYTES);
    let block = x.tokens().div_ceil(blocks).next_multiple_of(Q::TOKENS);
    for first in (0..x.tokens()).step_by(block) {
        let tokens = first..(first + block).min(x.tokens());
        for tile in tiles.clone().step_by(registers * Q::TILES) {
            if registers == 2 && tile + Q::TILES < tiles.end {
                rows::<Q, 2>(w, x, out, tile, tokens.clone());
            } else {
                rows::<Q, 1>(w, x, out, tile, tokens.clone());
            }
        }
    }
}

/// `P` registers of rows from `tile` on, for some tokens.
#[inline(always)]
fn rows<Q: Product, const P: usize>(w: &Matrix<'_>, x: &Acts<'_>, out: &mut Outputs<'_>, tile: usize, tokens: Range<usize>) {
    let mut t = tokens.start;
    while t < tokens.end {
        let left = tokens.end - t;
        t += match left.min(Q::TOKENS) {
            16.. => register_tile::<Q, P, 16>(w, x, out, tile, t),
            8.. => register_tile::<Q, P, 8>(w, x, out, tile, t),
            // Two more would be left over: 8 is 4 and 4.
            6.. if Q::TOKENS == 6 && left % 6 == 2 => register_tile::<Q, P, 4>(w, x, out, tile, t),
            6.. if Q::TOKENS == 6 => register_tile::<Q, P, 6>(w, x, out, tile, t),
            4.. => register_tile::<Q, P, 4>(w, x, out, tile, t),
            2.. => register_tile::<Q, P, 2>(w, x, out, tile, t),
            _ => register_tile::<Q, P, 1>(w, x, out, tile, t),
        };
    }
}

/// `P` registers of rows from `tile` on, `T` tokens from `t` on; returns `T`.
#[inline(always)]
fn register_tile<Q: Product, const P: usize, const T: usize>(
    w: &Matrix<'_>,
    x: &Acts<'_>,
    out: &mut Outputs<'_>,
    tile: usize,
    t: usize,
) -> usize {
    let padded = act::padded(x.cols());
    let tile_bytes = w.bytes().len() / w.tiles();
    let tiles: [Range<usize>; P] = core::array::from_fn(|p| {
        let first = tile + p * Q::TILES;
        first..(first + Q::TILES).min(out.tiles().end)
    });
    assert!(tiles.iter().all(|tiles| !tiles.is_empty() && tiles.end <= w.tiles()) && t + T <= x.tokens());
    assert!(tile_bytes == Q::HEAD_BYTES + padded / UNIT * Q::UNIT_BYTES);
    // The next register tile, or what lies at least as many bytes ahead as a miss takes to arrive: two streams end before
    // a hardware prefetcher has caught up with them, and it stops at pages.
    let ahead = if x.tokens() <= FEW { (P * Q::TILES * tile_bytes).max(8192) } else { 0 };

    // SAFETY: `tiles` lie in the weights, and tokens `t..t + T` in the activations, `padded` quants, a scale for each group
    // and a sum for each block: `Matrix` and `Acts` are made with these lengths, and the asserts above tie this register
    // tile to them. The table's entry has the instructions of `Q`.
    let outputs = unsafe {
        let operands = Operands {
            tiles: core::array::from_fn(|p| w.bytes().as_ptr().add(tiles[p].start * tile_bytes)),
            strides: core::array::from_fn(|p| (tiles[p].len() - 1) * tile_bytes),
            quants: x.quants().as_ptr().add(t * padded),
            scales: x.scales().as_ptr().add(t * act::groups(x.cols())),
            sums: x.sums().as_ptr().add(t * act::blocks(x.cols())),
            padded,
            ahead,
        };
        Q::outputs::<P, T>(&operands)
    };
    for p in 0..P {
        for token in 0..T {
            // SAFETY: as above.
            let lanes = unsafe { Q::lanes(outputs[p][token]) };
            for (tile, lanes) in tiles[p].clone().zip(lanes) {
                out.store(tile, t + token, lanes);
            }
        }
    }
    T
}
