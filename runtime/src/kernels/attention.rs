//! Attention of query rows over one key/value head: the views, and the law of its arithmetic.
//!
//! Positions are cut into blocks of [`BLOCK`] and spans of [`SPAN`]. A query row attends to `start..end`. Within a
//! span, blocks follow each other in order, those without a position in range being skipped:
//!
//! ```text
//! m = -inf, l = 0, acc = 0                                   (the partial of this row and span)
//! for each block with a position in range:
//!     s[p]  = (f32(Σ q k) * query_scale) * key_scale[p]      exact i32 inside; p in range only
//!     m'    = max(m, max s[p])                               lanes and tree of a lane sum, `if b > a {b} else {a}`
//!     c     = exp(m - m')                                    0 when m is -inf
//!     e[p]  = exp(s[p] - m'); 0 out of range
//!     l     = l * c + lane_sum(e)
//!     t[p]  = e[p] * value_scale[p];   peak = max(0, max t)  likewise
//!     u[p]  = round_half_even(t[p] * (127 / peak))           0..=127, NaN being 0; all 0 when peak < TINY
//!     acc[d] = acc[d] * c + f32(Σ u v) * (peak / 127)        exact i32 inside
//! ```
//!
//! The f32 cache uses the same blocks with `s[p] = lane_sum(q k) * query_scale` and
//! `acc[d] = acc[d] * c + Σ_p e[p] * v[p][d]`, the sum running over the p in range in order, from 0.
//!
//! Spans are merged in order by entry `merge`; the output is `acc / l`. So neither the batch, nor the number
//! of workers, nor who computes a span, can change a bit.
//!
//! Merging `b`, a later span's, into `a`, row by row:
//!
//! ```text
//! if a.max or b.max is -inf:  a.sum += b.sum; if it is a.max, a.max and a.acc become those of b
//! else:  m     = if b.max > a.max { b.max } else { a.max }
//!        a.sum = a.sum * exp(a.max - m) + b.sum * exp(b.max - m);   acc likewise;   a.max = m
//! ```
//!
//! A row that reached nothing has the sum 0, one whose scores were all NaN has a NaN, which so stays wherever the row's
//! other spans are.
//!
//! **Layout of the int8 cache** of one head, `head_dim` a multiple of 8, `n` blocks:
//!
//! ```text
//! keys:   [n][8 tiles of 8 positions][head_dim / 4][8 positions][4 channels]   i8
//! values: [n][head_dim / 8 tiles of 8 channels][16][8 channels][4 positions]   i8
//! key_scales, value_scales: [n][64]                                            f32
//! ```
//!
//! Logical block `b` is stored at `b % n`: a sliding window wraps around. **Bounds:** `q`, `k`, `v` lie in
//! -127..=127 and `u` in 0..=127, so a pair of products fits i16 and 256 of them fit i32 with room to spare.

/// Positions in a block.
pub const BLOCK: usize = 64;
/// Positions in a span: the unit in which long contexts are split over workers.
pub const SPAN: usize = 512;
/// The largest head size.
pub const MAX_HEAD_DIM: usize = 256;

/// One key/value head of an int8 cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheI8<'a> {
    /// Channels of a head: a multiple of 8, at most [`MAX_HEAD_DIM`].
    pub head_dim: usize,
    /// `n * BLOCK * head_dim`.
    pub keys: &'a [i8],
    /// `n * BLOCK`.
    pub key_scales: &'a [f32],
    /// `n * BLOCK * head_dim`.
    pub values: &'a [i8],
    /// `n * BLOCK`.
    pub value_scales: &'a [f32],
}

/// One key/value head of an f32 cache: `keys` and `values` are `[n][BLOCK][head_dim]`.
#[derive(Clone, Copy, Debug)]
pub struct CacheF32<'a> {
    /// Channels of a head.
    pub head_dim: usize,
    /// `n * BLOCK * head_dim`.
    pub keys: &'a [f32],
    /// `n * BLOCK * head_dim`.
    pub values: &'a [f32],
}

/// The positions that a query row attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// First position.
    pub start: usize,
    /// One past the last position.
    pub end: usize,
}

/// Quantised query rows that share a key/value head.
#[derive(Clone, Copy, Debug)]
pub struct QueriesI8<'a> {
    /// `[rows][head_dim]`, each in -127..=127.
    pub quants: &'a [i8],
    /// `[rows]`: the quantisation scale times the attention scale.
    pub scales: &'a [f32],
    /// `[rows]`.
    pub reach: &'a [Reach],
}

/// Query rows that share a key/value head.
#[derive(Clone, Copy, Debug)]
pub struct QueriesF32<'a> {
    /// `[rows][head_dim]`.
    pub values: &'a [f32],
    /// The attention scale.
    pub scale: f32,
    /// `[rows]`.
    pub reach: &'a [Reach],
}

/// What a span gives each query row: a running maximum, a sum of exponentials, a weighted sum of values.
#[derive(Debug)]
pub struct Partials<'a> {
    /// `[rows]`; -inf where the row reaches nothing in the span.
    pub max: &'a mut [f32],
    /// `[rows]`.
    pub sum: &'a mut [f32],
    /// `[rows][head_dim]`.
    pub acc: &'a mut [f32],
}

/// Writes the outputs `acc / sum` of some rows; zeros for a row that reached nothing. `acc` and `out` are
/// `[rows][head_dim]`, `sum` is `[rows]`.
///
/// # Panics
/// If `out` is not as long as `acc`.
pub fn finish(sum: &[f32], acc: &[f32], out: &mut [f32]) {
    assert_eq!(out.len(), acc.len());
    let head_dim = acc.len() / sum.len();
    for ((sum, acc), out) in sum.iter().zip(acc.chunks_exact(head_dim)).zip(out.chunks_exact_mut(head_dim)) {
        for (out, acc) in out.iter_mut().zip(acc) {
            *out = if *sum == 0.0 { 0.0 } else { acc / sum };
        }
    }
}
