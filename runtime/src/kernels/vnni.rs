//! Kernels for machines with `vpdpbusd`, which adds four products of bytes to each 32-bit lane, written once over the
//! width of the registers.
//!
//! A [`Vector`] is one register of 32-bit lanes: eight rows of one tile with AVX-VNNI, sixteen rows of two tiles with
//! AVX-512. The bodies here are generic over it and `#[inline(always)]`, so that each entry of a table compiles them
//! with its own features. The integer sums are exact in any order; the floats are those of [`super::lanes`] and the
//! law of each product, lane by lane.

pub(super) mod avx512;
pub(super) mod avxvnni;
mod dots;
mod q4;
mod q8;

use super::product::Operands;
use kinglet_quant::LANES;

/// A register of `TILES * LANES` lanes of 32 bits.
///
/// # Safety
/// Every method may be called only where the features of the implementor are: the tables' entries see to that.
/// Pointers are readable for what a method says it reads, at any alignment.
trait Vector: Copy {
    /// The same lanes as f32.
    type Floats: Copy;
    /// Tiles whose rows are the lanes.
    const TILES: usize;
    /// Tokens in a register tile of a batch, for two registers of rows: as many as there is room for.
    const TOKENS: usize;
    /// Query rows of attention that pass over a block together: 4 or 8.
    const ROWS: usize;
    /// Registers of tiles, 2 or 4, that meet four query rows side by side; eight rows meet half as many.
    const SIDE_BY_SIDE: usize;
    /// Whether an instruction makes bytes of the lanes.
    const NARROWS: bool;

    unsafe fn zero() -> Self;
    /// `value` in every lane.
    unsafe fn splat(value: i32) -> Self;
    /// Writes the lanes to `out`.
    unsafe fn store(self, out: *mut i32);
    /// The 32 bytes at `tile` and, of a second tile, those `stride` further on.
    unsafe fn load(tile: *const u8, stride: usize) -> Self;
    /// The 8 bytes at `tile` (and `stride` further on), each in a lane of its own.
    unsafe fn load_u8(tile: *const u8, stride: usize) -> Self;
    /// The 16 bytes at `tile` (and `stride` further on), each in half a lane.
    unsafe fn load_u8_pairs(tile: *const u8, stride: usize) -> Self;
    /// As `load_u8_pairs`, of 16 bytes that hold the first halves of all lanes and then the second.
    unsafe fn interleave_u8(tile: *const u8, stride: usize) -> Self;
    /// Every lane times `2^BITS`.
    unsafe fn shift_left<const BITS: u32>(self) -> Self;
    /// `self - a`.
    unsafe fn minus(self, a: Self) -> Self;
    /// Every byte plus 128: signed bytes as unsigned ones.
    unsafe fn plus_128(self) -> Self;
    /// The low four bits of every byte.
    unsafe fn low_nibbles(self) -> Self;
    /// The high four bits of every byte.
    unsafe fn high_nibbles(self) -> Self;
    /// `self + Σ w[j] * x[j]` in every lane, for the lane's four unsigned bytes `w` and the four signed bytes at `x`.
    unsafe fn add_dot4(self, w: Self, x: *const i8) -> Self;
    /// `self + Σ u[j] * w[j]` in every lane, for the four unsigned bytes at `u` and the lane's four signed bytes `w`.
    unsafe fn add_unsigned_dot4(self, u: *const u8, w: Self) -> Self;
    /// `self + Σ w[j] * x[j]` in every lane, for the lane's two 16-bit numbers `w` and the two at `x`.
    unsafe fn add_dot2(self, w: Self, x: *const i16) -> Self;
    /// `self + a * b`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;

    unsafe fn zero_floats() -> Self::Floats;
    /// The eight floats at `tile` (and `stride` bytes further on).
    unsafe fn load_floats(tile: *const u8, stride: usize) -> Self::Floats;
    /// `sum + f32(self) * scale`, rounded after each operation.
    unsafe fn add_scaled(self, sum: Self::Floats, scale: f32) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The lanes of each tile.
    unsafe fn to_tiles(floats: Self::Floats) -> [[f32; LANES]; 2];
}

/// `sums += f32(group) * scale`, the scale being that of the group and token.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "an instruction and a load, under the one duty of the caller")]
unsafe fn add_scaled<V: Vector, const P: usize, const T: usize>(
    o: &Operands<P>,
    group: usize,
    integers: &[[V; T]; P],
    sums: &mut [[V::Floats; T]; P],
) {
    for t in 0..T {
        for p in 0..P {
            sums[p][t] = integers[p][t].add_scaled(sums[p][t], o.scale(t, group));
        }
    }
}
