//! The integer primitives of attention.
//!
//! A block of keys and a piece of values have one shape: tiles of eight lanes (positions, or channels), and in each tile,
//! gang after gang, four bytes a lane: two registers. A query, or a row of weights, has four bytes for each gang; weights are
//! at most 127, and so are signed bytes too. One product therefore serves both, and each [`Products`] is written once:
//!
//! ```text
//! out[row][lane] = Σ_gang Σ_j tile[gang][lane][j] * x[row][4 gang + j]
//! ```
//!
//! Every row shares the loads of a tile.

pub(super) mod sdot;
pub(super) mod smmla;
pub(super) mod smull;

use crate::kernels::attend::{Dots, Eight, TILES};
use crate::kernels::attention::BLOCK;
use crate::kernels::float::Float;
use crate::kernels::neon::elementwise;
use crate::kernels::prefetch;
use core::arch::aarch64::*;
use core::marker::PhantomData;
use kinglet_quant::{LANES, act};

/// Bytes of a gang.
const GANG: usize = 4 * LANES;

/// See [`Dots`]. Only the entries of the tables whose features `P` needs may name it.
pub(super) struct NeonDots<P>(PhantomData<P>);

/// How an instruction set multiplies bytes.
pub(super) trait Products {
    /// See [`Dots::ROWS`].
    const ROWS: usize;

    /// The product that the head of this file states. Lanes of `out` beyond those of the tiles stay as they are.
    ///
    /// # Safety
    /// The features are there, and each `x` has four bytes for each gang.
    unsafe fn products<const R: usize>(tiles: &Tiles<'_>, x: [*const i8; R], out: &mut [[i32; BLOCK]; R]);
}

/// Tiles of eight lanes: four bytes a lane in a gang, gang after gang.
pub(super) struct Tiles<'a> {
    bytes: &'a [i8],
    /// Gangs of a tile: an even number.
    gangs: usize,
    count: usize,
    /// To be prefetched, as long as `bytes`. What is there anyway if there is nothing to prefetch: a branch costs more, and
    /// keeps the compiler from unrolling.
    next: *const i8,
}

impl<'a> Tiles<'a> {
    #[inline(always)]
    fn new(bytes: &'a [i8], gangs: usize, next: &'a [i8]) -> Self {
        let count = bytes.len() / (gangs * GANG);
        assert!(gangs.is_multiple_of(2) && bytes.len().is_multiple_of(gangs * GANG) && count <= TILES);
        let next = if next.is_empty() { bytes } else { next };
        Self { bytes, gangs, count, next: next.as_ptr() }
    }

    /// Where a gang of a tile begins.
    #[inline(always)]
    fn at(&self, tile: usize, gang: usize) -> *const i8 {
        self.bytes.as_ptr().wrapping_add((tile * self.gangs + gang) * GANG)
    }

    /// Asks for what lies in `next` where the gangs from `gang` on lie in this tile.
    #[inline(always)]
    fn prefetch(&self, tile: usize, gang: usize, gangs: usize) {
        prefetch(self.next.wrapping_add((tile * self.gangs + gang) * GANG).cast(), gangs * GANG);
    }
}

impl<P: Products> Dots for NeonDots<P> {
    const ROWS: usize = P::ROWS;
    type Eight = Pair;

    #[inline(always)]
    fn scores<const R: usize>(keys: &[i8], next: &[i8], queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]) {
        let head_dim = queries[0].len();
        let mut x = [keys.as_ptr(); R];
        for r in 0..R {
            assert!(queries[r].len() == head_dim);
            x[r] = queries[r].as_ptr();
        }
        let tiles = Tiles::new(keys, head_dim / 4, next);
        // SAFETY: each query has four bytes for each of the gangs, and the entry that names this type has the features.
        unsafe { P::products(&tiles, x, out) }
    }

    #[inline(always)]
    fn values<const R: usize>(tiles: &[i8], next: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]) {
        let mut x = [tiles.as_ptr(); R];
        for r in 0..R {
            x[r] = weights[r].as_ptr().cast();
        }
        let tiles = Tiles::new(tiles, BLOCK / 4, next);
        // SAFETY: the weights of a row have four bytes for each of the gangs, and the entry that names this type has the
        // features.
        unsafe { P::products(&tiles, x, out) }
    }

    #[inline(always)]
    fn weights(e: &[f32; BLOCK], inverse: f32, out: &mut [u8; BLOCK]) {
        for (e, out) in e.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0) {
            // SAFETY: the entry that names this type has the features; four times 4 floats are read, and 16 bytes written.
            unsafe {
                let e = e.as_ptr();
                let low = vuzp1q_u16(weights(e, inverse), weights(e.add(4), inverse));
                let high = vuzp1q_u16(weights(e.add(8), inverse), weights(e.add(12), inverse));
                vst1q_u8(out.as_mut_ptr(), vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high)));
            }
        }
    }
}

/// Four weights, in 32 bits each: the conversion rounds ties to even and makes 0 of NaN and of what is negative.
///
/// # Safety
/// The machine has NEON, and four floats can be read.
#[inline(always)]
#[expect(unsafe_op_in_unsafe_fn, reason = "a load and instructions, under the one duty of the caller")]
unsafe fn weights(e: *const f32, inverse: f32) -> uint16x8_t {
    let rounded = vcvtnq_u32_f32(vmulq_n_f32(vld1q_f32(e), inverse));
    vreinterpretq_u16_u32(vminq_u32(rounded, vdupq_n_u32(act::QUANT_MAX as u32)))
}

/// See [`Eight`]. Only entries of the tables with NEON may name it.
#[derive(Clone, Copy)]
pub(super) struct Pair(float32x4_t, float32x4_t);

impl Eight for Pair {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: this type is named only by entries of tables with NEON, which run with the feature.
        let four = unsafe { vdupq_n_f32(value) };
        Self(four, four)
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        let (low, high) = values.split_at(LANES / 2);
        // SAFETY: as in `splat`, and there are four values in each half.
        unsafe { Self(vld1q_f32(low.as_ptr()), vld1q_f32(high.as_ptr())) }
    }

    #[inline(always)]
    fn to_lanes(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        let (low, high) = lanes.split_at_mut(LANES / 2);
        // SAFETY: as in `splat`, and there is room for four in each half.
        unsafe {
            vst1q_f32(low.as_mut_ptr(), self.0);
            vst1q_f32(high.as_mut_ptr(), self.1);
        }
        lanes
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { Self(vaddq_f32(self.0, other.0), vaddq_f32(self.1, other.1)) }
    }

    #[inline(always)]
    fn or_greater(self, other: Self) -> Self {
        // The maximum that is one instruction knows NaN and the sign of zero otherwise than the law does.
        // SAFETY: as in `splat`.
        unsafe { Self(vbslq_f32(vcgtq_f32(other.0, self.0), other.0, self.0), vbslq_f32(vcgtq_f32(other.1, self.1), other.1, self.1)) }
    }

    #[inline(always)]
    fn exps(x: &mut [f32; BLOCK], max: f32) {
        // SAFETY: as in `splat`.
        unsafe { elementwise::exps(x, max) }
    }
}

impl Float for Pair {
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { Self(vmulq_f32(self.0, other.0), vmulq_f32(self.1, other.1)) }
    }

    #[inline(always)]
    fn from_f32(bytes: &[u8; 4 * LANES]) -> Self {
        let (low, high) = bytes.split_at(2 * LANES);
        // SAFETY: as in `splat`, and there are 16 bytes in each half; registers of bytes are loaded from any address.
        unsafe { Self(vreinterpretq_f32_u8(vld1q_u8(low.as_ptr())), vreinterpretq_f32_u8(vld1q_u8(high.as_ptr()))) }
    }

    #[inline(always)]
    fn from_f16(bytes: &[u8; 2 * LANES]) -> Self {
        // SAFETY: as in `splat`, and there are 16 bytes.
        unsafe {
            let eight = vreinterpretq_f16_u8(vld1q_u8(bytes.as_ptr()));
            Self(vcvt_f32_f16(vget_low_f16(eight)), vcvt_high_f32_f16(eight))
        }
    }
}
