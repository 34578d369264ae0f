//! The float law of attention, written once over two exact integer primitives that each instruction set supplies.
//!
//! Blocks of positions come outermost, so that a block's keys and values stay in the nearest cache while all query
//! rows pass over it, [`ROWS`] at a time: that many share every load.

use super::attention::{BLOCK, CacheF32, CacheI8, MAX_HEAD_DIM, Partials, QueriesF32, QueriesI8, Reach, SPAN};
use super::lanes::{self, Lanes};
use crate::math;
use core::ops::Range;
use kinglet_quant::{LANES, act};

/// Query rows that one pass over a block serves. Four rows of scores are 1 KiB of stack, and four accumulators leave
/// room for the operands in 16 registers.
pub(super) const ROWS: usize = 4;
/// Tiles of eight positions in a block.
const TILES: usize = BLOCK / LANES;

/// The integer part of attention: exact, so that each instruction set may sum in the order it likes.
///
/// Slices have the lengths that the layouts say; `R` is 1..=[`ROWS`].
pub(super) trait Dots {
    /// `out[r][p] = Σ_c queries[r][c] * key[p][c]` for the eight positions of a key tile.
    fn scores<const R: usize>(tile: &[i8], queries: [&[i8]; R], out: &mut [[i32; LANES]; R]);

    /// `out[r][d] = Σ_p weights[r][p] * value[p][d]` over a block, for the eight channels of a value tile.
    fn values<const R: usize>(tile: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; LANES]; R]);
}

/// The positions of one block that a row reaches, counted from the block's start.
#[inline(always)]
fn within(reach: Reach, block_start: usize) -> Range<usize> {
    let end = reach.end.saturating_sub(block_start).min(BLOCK);
    reach.start.saturating_sub(block_start).min(end)..end
}

/// The blocks of a span that some row reaches.
#[inline(always)]
fn blocks(reach: &[Reach], span: usize) -> Range<usize> {
    let reached = reach.iter().filter(|reach| reach.start < reach.end);
    let start = reached.clone().map(|reach| reach.start).min().unwrap_or(0).max(span * SPAN);
    let end = reached.map(|reach| reach.end).max().unwrap_or(0).min((span + 1) * SPAN);
    start / BLOCK..end.div_ceil(BLOCK).max(start / BLOCK)
}

/// The running softmax of one row: takes in a block's scores and turns them into `e`; returns the factor `c`.
///
/// Out of `range`, `scores` may hold anything.
#[inline(always)]
fn take_block(scores: &mut [f32; BLOCK], range: Range<usize>, max: &mut f32, sum: &mut f32) -> f32 {
    let whole = range == (0..BLOCK);
    if !whole {
        scores[..range.start].fill(f32::NEG_INFINITY);
        scores[range.end..].fill(f32::NEG_INFINITY);
    }
    let m = lanes::peak(*max, scores);
    let c = if *max == f32::NEG_INFINITY { 0.0 } else { math::exp(*max - m) };
    for s in scores.iter_mut() {
        *s = math::exp(*s - m);
    }
    if !whole {
        scores[..range.start].fill(0.0);
        scores[range.end..].fill(0.0);
    }
    *sum = *sum * c + lanes::sum(scores);
    *max = m;
    c
}

/// Turns `e` into the weights `u` of a block and returns `peak / 127`.
#[inline(always)]
fn weigh(e: &[f32; BLOCK], value_scales: &[f32; BLOCK], u: &mut [u8; BLOCK]) -> f32 {
    const MAX: f32 = act::QUANT_MAX as f32;
    let mut t = [0.0; BLOCK];
    for p in 0..BLOCK {
        t[p] = e[p] * value_scales[p];
    }
    let peak = lanes::peak(0.0, &t);
    if peak < act::TINY {
        *u = [0; BLOCK];
        return 0.0;
    }
    let inverse = MAX / peak;
    for p in 0..BLOCK {
        u[p] = lanes::clamp_round(0.0, MAX, t[p] * inverse) as u8;
    }
    peak / MAX
}

/// The rows of a chunk, and where their results go.
struct Chunk<'a> {
    queries: &'a [i8],
    scales: &'a [f32],
    reach: &'a [Reach],
    max: &'a mut [f32],
    sum: &'a mut [f32],
    acc: &'a mut [f32],
}

/// Entry `attend_i8`.
#[inline(always)]
pub(super) fn attend_i8<D: Dots>(cache: &CacheI8<'_>, queries: &QueriesI8<'_>, span: usize, out: &mut Partials<'_>) {
    let (head_dim, rows) = (cache.head_dim, queries.reach.len());
    let stored = cache.key_scales.len() / BLOCK;
    assert!(head_dim.is_multiple_of(LANES) && (LANES..=MAX_HEAD_DIM).contains(&head_dim));
    assert!(stored > 0 && cache.key_scales.len() == stored * BLOCK && cache.value_scales.len() == stored * BLOCK);
    assert!(cache.keys.len() == stored * BLOCK * head_dim && cache.values.len() == stored * BLOCK * head_dim);
    assert!(queries.quants.len() == rows * head_dim && queries.scales.len() == rows);
    begin(rows, head_dim, out);

    for block in blocks(queries.reach, span) {
        let place = block % stored;
        let keys = &cache.keys[place * BLOCK * head_dim..][..BLOCK * head_dim];
        let values = &cache.values[place * BLOCK * head_dim..][..BLOCK * head_dim];
        let key_scales = &cache.key_scales.as_chunks::<BLOCK>().0[place];
        let value_scales = &cache.value_scales.as_chunks::<BLOCK>().0[place];
        for first in (0..rows).step_by(ROWS) {
            let rows = first..(first + ROWS).min(rows);
            let chunk = Chunk {
                queries: &queries.quants[rows.start * head_dim..rows.end * head_dim],
                scales: &queries.scales[rows.clone()],
                reach: &queries.reach[rows.clone()],
                max: &mut out.max[rows.clone()],
                sum: &mut out.sum[rows.clone()],
                acc: &mut out.acc[rows.start * head_dim..rows.end * head_dim],
            };
            let start = block * BLOCK;
            match rows.len() {
                1 => attend_block::<D, 1>(keys, key_scales, values, value_scales, start, chunk),
                2 => attend_block::<D, 2>(keys, key_scales, values, value_scales, start, chunk),
                3 => attend_block::<D, 3>(keys, key_scales, values, value_scales, start, chunk),
                _ => attend_block::<D, ROWS>(keys, key_scales, values, value_scales, start, chunk),
            }
        }
    }
}

/// `R` rows and one block of the int8 cache.
#[inline(always)]
fn attend_block<D: Dots, const R: usize>(
    keys: &[i8],
    key_scales: &[f32; BLOCK],
    values: &[i8],
    value_scales: &[f32; BLOCK],
    start: usize,
    chunk: Chunk<'_>,
) {
    let head_dim = chunk.queries.len() / R;
    let ranges: [Range<usize>; R] = core::array::from_fn(|r| within(chunk.reach[r], start));
    let reached = ranges.iter().filter(|range| !range.is_empty());
    let Some(from) = reached.clone().map(|range| range.start).min() else { return };
    let to = reached.map(|range| range.end).max().unwrap_or(BLOCK);

    let queries: [&[i8]; R] = core::array::from_fn(|r| &chunk.queries[r * head_dim..][..head_dim]);
    let mut scores = [[0.0; BLOCK]; R];
    for tile in from / LANES..to.div_ceil(LANES).min(TILES) {
        let mut sums = [[0; LANES]; R];
        D::scores(&keys[tile * LANES * head_dim..][..LANES * head_dim], queries, &mut sums);
        for r in 0..R {
            for lane in 0..LANES {
                let p = tile * LANES + lane;
                scores[r][p] = (sums[r][lane] as f32 * chunk.scales[r]) * key_scales[p];
            }
        }
    }

    let mut weights = [[0; BLOCK]; R];
    let mut factors = [(1.0, 0.0); R];
    for r in 0..R {
        if !ranges[r].is_empty() {
            let c = take_block(&mut scores[r], ranges[r].clone(), &mut chunk.max[r], &mut chunk.sum[r]);
            factors[r] = (c, weigh(&scores[r], value_scales, &mut weights[r]));
        }
    }

    for (tile, values) in values.chunks_exact(LANES * BLOCK).enumerate() {
        let mut sums = [[0; LANES]; R];
        D::values(values, &weights, &mut sums);
        for r in 0..R {
            // A row that does not reach this block must not be touched: even `acc * 1 + 0` can turn -0 into +0.
            if ranges[r].is_empty() {
                continue;
            }
            let (c, scale) = factors[r];
            let acc: &mut Lanes = &mut chunk.acc[r * head_dim..].as_chunks_mut::<LANES>().0[tile];
            for lane in 0..LANES {
                acc[lane] = acc[lane] * c + sums[r][lane] as f32 * scale;
            }
        }
    }
}

/// Entry `attend_f32`.
#[inline(always)]
pub(super) fn attend_f32(cache: &CacheF32<'_>, queries: &QueriesF32<'_>, span: usize, out: &mut Partials<'_>) {
    let (head_dim, rows) = (cache.head_dim, queries.reach.len());
    assert!((1..=MAX_HEAD_DIM).contains(&head_dim));
    let stored = cache.keys.len() / (BLOCK * head_dim);
    assert!(stored > 0 && cache.keys.len() == stored * BLOCK * head_dim && cache.values.len() == cache.keys.len());
    assert!(queries.values.len() == rows * head_dim);
    begin(rows, head_dim, out);

    for block in blocks(queries.reach, span) {
        let place = block % stored;
        let keys = &cache.keys[place * BLOCK * head_dim..][..BLOCK * head_dim];
        let values = &cache.values[place * BLOCK * head_dim..][..BLOCK * head_dim];
        for row in 0..rows {
            let range = within(queries.reach[row], block * BLOCK);
            if range.is_empty() {
                continue;
            }
            let query = &queries.values[row * head_dim..][..head_dim];
            let mut scores = [0.0; BLOCK];
            for p in range.clone() {
                scores[p] = lanes::dot(query, &keys[p * head_dim..][..head_dim]) * queries.scale;
            }
            let c = take_block(&mut scores, range.clone(), &mut out.max[row], &mut out.sum[row]);
            let acc = &mut out.acc[row * head_dim..][..head_dim];
            let mut sums = [0.0; MAX_HEAD_DIM];
            let sums = &mut sums[..head_dim];
            for p in range {
                for (sum, v) in sums.iter_mut().zip(&values[p * head_dim..][..head_dim]) {
                    *sum += scores[p] * v;
                }
            }
            for (acc, sum) in acc.iter_mut().zip(sums) {
                *acc = *acc * c + *sum;
            }
        }
    }
}

/// Checks the shape of `out` and empties it.
#[inline(always)]
fn begin(rows: usize, head_dim: usize, out: &mut Partials<'_>) {
    assert!(out.max.len() == rows && out.sum.len() == rows && out.acc.len() == rows * head_dim);
    out.max.fill(f32::NEG_INFINITY);
    out.sum.fill(0.0);
    out.acc.fill(0.0);
}
