//! The float law of attention, written once over two exact integer primitives that each instruction set supplies.
//!
//! Blocks of positions come outermost, so that a block's keys and values stay in the nearest cache while all query
//! rows pass over it, some at a time ([`Dots::ROWS`]).

use super::attention::{BLOCK, CacheF32, CacheI8, MAX_HEAD_DIM, Partials, QueriesF32, QueriesI8, Reach, SPAN};
use super::lanes::{self, Lanes};
use crate::math;
use core::ops::Range;
use kinglet_quant::{LANES, act};

/// The most query rows that one pass over a block serves.
const MAX_ROWS: usize = 8;
/// Up to this many rows, as when one token is decoded, a block takes less time than its memory needs to arrive, and the
/// next one is prefetched meanwhile.
const PREFETCH_ROWS: usize = 8;
/// Tiles of eight positions in a block, and tiles of eight channels that go through one buffer of a block's length.
pub(super) const TILES: usize = BLOCK / LANES;

/// What an instruction set supplies. The integer part is exact, so that each may sum in the order it likes.
///
/// Slices have the lengths that the layouts say; `R` is at most `ROWS`.
pub(super) trait Dots {
    /// Query rows that one pass over a block serves, 4 or 8. They share every load, and overlap where a row alone would be
    /// one long chain of dependent operations.
    const ROWS: usize;
    /// A register of the float part.
    type Eight: Eight;

    /// `out[r][p] = Σ_c queries[r][c] * key[p][c]` for the positions of a block. May prefetch `next`, which is empty or as
    /// long as `keys`.
    fn scores<const R: usize>(keys: &[i8], next: &[i8], queries: [&[i8]; R], out: &mut [[i32; BLOCK]; R]);

    /// `out[r][d] = Σ_p weights[r][p] * value[p][d]` over a block, for the channels of at most [`TILES`] value tiles.
    /// May prefetch `next`, which is empty or as long as `tiles`.
    fn values<const R: usize>(tiles: &[i8], next: &[i8], weights: &[[u8; BLOCK]; R], out: &mut [[i32; BLOCK]; R]);

    /// `out[p]` is the [`weight`] of `e[p] * inverse`.
    fn weights(e: &[f32; BLOCK], inverse: f32, out: &mut [u8; BLOCK]);
}

/// `v` rounded, within 0..=127, NaN being 0.
#[inline(always)]
pub(super) fn weight(v: f32) -> i32 {
    lanes::clamp_round(0.0, MAX_WEIGHT, v)
}

/// [`Dots::weights`] for machines that narrow lanes to bytes by one instruction, or none.
#[inline(always)]
pub(super) fn weights(e: &[f32; BLOCK], inverse: f32, out: &mut [u8; BLOCK]) {
    for p in 0..BLOCK {
        out[p] = weight(e[p] * inverse) as u8;
    }
}

/// The greatest weight of a value.
const MAX_WEIGHT: f32 = act::QUANT_MAX as f32;

/// Eight lanes of a reduction, in one register: a compiler that is given the array takes it apart.
pub(super) trait Eight: Copy {
    fn splat(value: f32) -> Self;
    fn load(values: &Lanes) -> Self;
    fn to_lanes(self) -> Lanes;
    /// `self + other` in every lane.
    fn plus(self, other: Self) -> Self;
    /// `other` where it is greater than `self`, else `self`.
    fn or_greater(self, other: Self) -> Self;

    /// `x[p] = exp(x[p] - max)`, of which no difference is above 0.
    #[inline(always)]
    fn exps(x: &mut [f32; BLOCK], max: f32) {
        for p in 0..BLOCK {
            x[p] = math::exp_nonpositive(x[p] - max);
        }
    }
}

impl Eight for Lanes {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    fn load(values: &Lanes) -> Self {
        *values
    }

    #[inline(always)]
    fn to_lanes(self) -> Lanes {
        self
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        core::array::from_fn(|lane| self[lane] + other[lane])
    }

    #[inline(always)]
    fn or_greater(self, other: Self) -> Self {
        core::array::from_fn(|lane| lanes::greater(self[lane], other[lane]))
    }
}

/// The greatest of `least` and a block's `x`, in lanes and by the tree of a lane sum; NaN is passed over.
#[inline(always)]
fn peak<E: Eight>(least: f32, x: &[f32; BLOCK]) -> f32 {
    let mut lanes = E::splat(least);
    for x in x.as_chunks().0 {
        lanes = lanes.or_greater(E::load(x));
    }
    lanes::tree(lanes.to_lanes(), lanes::greater)
}

/// [`lanes::sum`] of a block.
#[inline(always)]
fn sum<E: Eight>(x: &[f32; BLOCK]) -> f32 {
    let mut lanes = E::splat(0.0);
    for x in x.as_chunks().0 {
        lanes = lanes.plus(E::load(x));
    }
    lanes::tree(lanes.to_lanes(), |a, b| a + b)
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

/// `value` where a row does not reach.
#[inline(always)]
fn fill_outside<const R: usize>(scores: &mut [[f32; BLOCK]; R], ranges: &[Range<usize>; R], value: f32) {
    for r in 0..R {
        if ranges[r] != (0..BLOCK) {
            let (start, len) = (ranges[r].start as u32, ranges[r].len() as u32);
            for p in 0..BLOCK {
                let inside = (p as u32).wrapping_sub(start) < len;
                scores[r][p] = if inside { scores[r][p] } else { value };
            }
        }
    }
}

/// The running softmax of `R` rows: takes in a block's scores, turns them into `e`, moves `max` and `sum` on, and returns
/// the factors `c`.
///
/// Out of a row's range its scores may hold anything. Each step goes over all rows before the next begins: a row alone
/// is one long chain of dependent operations, and rows are what the machine can overlap.
#[inline(always)]
fn soften<E: Eight, const R: usize>(
    scores: &mut [[f32; BLOCK]; R],
    ranges: &[Range<usize>; R],
    max: &mut [f32],
    sum: &mut [f32],
) -> [f32; R] {
    fill_outside(scores, ranges, f32::NEG_INFINITY);
    let (mut m, mut c) = ([0.0; R], [0.0; R]);
    for r in 0..R {
        m[r] = peak::<E>(max[r], &scores[r]);
        c[r] = max[r] - m[r];
    }
    for r in 0..R {
        let factor = math::exp_nonpositive(c[r]);
        c[r] = if max[r] == f32::NEG_INFINITY { 0.0 } else { factor };
    }
    for r in 0..R {
        E::exps(&mut scores[r], m[r]);
    }
    fill_outside(scores, ranges, 0.0);
    for r in 0..R {
        let sum_here = self::sum::<E>(&scores[r]);
        if !ranges[r].is_empty() {
            sum[r] = sum[r] * c[r] + sum_here;
            max[r] = m[r];
        }
    }
    c
}

/// Turns the `e` of `R` rows, which it spoils, into the weights `u` of a block and returns `peak / 127` of each.
#[inline(always)]
fn weigh<D: Dots, const R: usize>(e: &mut [[f32; BLOCK]; R], value_scales: &[f32; BLOCK], u: &mut [[u8; BLOCK]; R]) -> [f32; R] {
    let (mut inverse, mut scale) = ([0.0; R], [0.0; R]);
    for r in 0..R {
        for p in 0..BLOCK {
            e[r][p] *= value_scales[p];
        }
        let peak = peak::<D::Eight>(0.0, &e[r]);
        // With both 0, every weight becomes 0.
        if peak >= act::TINY {
            (inverse[r], scale[r]) = (MAX_WEIGHT / peak, peak / MAX_WEIGHT);
        }
    }
    for r in 0..R {
        D::weights(&e[r], inverse[r], &mut u[r]);
    }
    scale
}

/// What the rows of a chunk make of a block, written before it is read.
/// Aligned as the widest registers are.
#[repr(align(64))]
struct Buffers {
    sums: [[i32; BLOCK]; MAX_ROWS],
    scores: [[f32; BLOCK]; MAX_ROWS],
    weights: [[u8; BLOCK]; MAX_ROWS],
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
    let mut buffers = Buffers { sums: [[0; BLOCK]; MAX_ROWS], scores: [[0.0; BLOCK]; MAX_ROWS], weights: [[0; BLOCK]; MAX_ROWS] };

    let reached = blocks(queries.reach, span);
    for block in reached.clone() {
        let place = block % stored;
        let keys = &cache.keys[place * BLOCK * head_dim..][..BLOCK * head_dim];
        let values = &cache.values[place * BLOCK * head_dim..][..BLOCK * head_dim];
        let next = (block + 1) % stored * BLOCK * head_dim;
        let is_prefetched = rows <= PREFETCH_ROWS && block + 1 < reached.end;
        let key_scales = &cache.key_scales.as_chunks::<BLOCK>().0[place];
        let value_scales = &cache.value_scales.as_chunks::<BLOCK>().0[place];
        let mut first = 0;
        while first < rows {
            let n = match rows - first {
                8.. if D::ROWS == 8 => 8,
                4.. => 4,
                n => n,
            };
            let rows = first..first + n;
            first = rows.end;
            let chunk = Chunk {
                queries: &queries.quants[rows.start * head_dim..rows.end * head_dim],
                scales: &queries.scales[rows.clone()],
                reach: &queries.reach[rows.clone()],
                max: &mut out.max[rows.clone()],
                sum: &mut out.sum[rows.clone()],
                acc: &mut out.acc[rows.start * head_dim..rows.end * head_dim],
            };
            let len = if is_prefetched && rows.start == 0 { BLOCK * head_dim } else { 0 };
            let (next_keys, next_values) = (&cache.keys[next..][..len], &cache.values[next..][..len]);
            let block = Block { start: block * BLOCK, keys, key_scales, values, value_scales, next_keys, next_values };
            match rows.len() {
                1 => attend_block::<D, 1>(block, chunk, &mut buffers),
                2 => attend_block::<D, 2>(block, chunk, &mut buffers),
                3 => attend_block::<D, 3>(block, chunk, &mut buffers),
                4 => attend_block::<D, 4>(block, chunk, &mut buffers),
                _ if D::ROWS == MAX_ROWS => attend_block::<D, MAX_ROWS>(block, chunk, &mut buffers),
                _ => unreachable!("at most D::ROWS rows"),
            }
        }
    }
}

/// A block of the int8 cache.
struct Block<'a> {
    /// Its first position.
    start: usize,
    keys: &'a [i8],
    key_scales: &'a [f32; BLOCK],
    values: &'a [i8],
    value_scales: &'a [f32; BLOCK],
    /// What to prefetch meanwhile: the next block's, or nothing.
    next_keys: &'a [i8],
    next_values: &'a [i8],
}

/// `R` rows and one block.
#[inline(always)]
fn attend_block<D: Dots, const R: usize>(block: Block<'_>, chunk: Chunk<'_>, buffers: &mut Buffers) {
    let head_dim = chunk.queries.len() / R;
    let ranges: [Range<usize>; R] = core::array::from_fn(|r| within(chunk.reach[r], block.start));
    if ranges.iter().all(Range::is_empty) {
        return;
    }
    let (Some(sums), Some(scores), Some(weights)) =
        (buffers.sums.first_chunk_mut::<R>(), buffers.scores.first_chunk_mut::<R>(), buffers.weights.first_chunk_mut::<R>())
    else {
        unreachable!("no chunk has more than MAX_ROWS rows");
    };

    let queries: [&[i8]; R] = core::array::from_fn(|r| &chunk.queries[r * head_dim..][..head_dim]);
    D::scores(block.keys, block.next_keys, queries, sums);
    for r in 0..R {
        for p in 0..BLOCK {
            scores[r][p] = (sums[r][p] as f32 * chunk.scales[r]) * block.key_scales[p];
        }
    }
    let factors = soften::<D::Eight, R>(scores, &ranges, chunk.max, chunk.sum);
    let scales = weigh::<D, R>(scores, block.value_scales, weights);

    let mut next_pieces = block.next_values.chunks(TILES * LANES * BLOCK);
    for (piece, values) in block.values.chunks(TILES * LANES * BLOCK).enumerate() {
        D::values(values, next_pieces.next().unwrap_or_default(), weights, sums);
        for r in 0..R {
            // A row that does not reach this block must not be touched: even `acc * 1 + 0` can turn -0 into +0.
            if !ranges[r].is_empty() {
                let (c, scale) = (factors[r], scales[r]);
                let channels = values.len() / BLOCK;
                let acc = &mut chunk.acc[r * head_dim + piece * TILES * LANES..][..channels];
                for (acc, sum) in acc.iter_mut().zip(&sums[r]) {
                    *acc = *acc * c + *sum as f32 * scale;
                }
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
            let mut scores = [[0.0; BLOCK]];
            for p in range.clone() {
                scores[0][p] = lanes::dot(query, &keys[p * head_dim..][..head_dim]) * queries.scale;
            }
            let (max, sum) = (&mut out.max[row..=row], &mut out.sum[row..=row]);
            let [c] = soften::<Lanes, 1>(&mut scores, core::array::from_ref(&range), max, sum);
            let acc = &mut out.acc[row * head_dim..][..head_dim];
            let mut sums = [0.0; MAX_HEAD_DIM];
            let sums = &mut sums[..head_dim];
            for p in range {
                for (sum, v) in sums.iter_mut().zip(&values[p * head_dim..][..head_dim]) {
                    *sum += scores[0][p] * v;
                }
            }
            for (acc, sum) in acc.iter_mut().zip(sums) {
                *acc = *acc * c + *sum;
            }
        }
    }
}

/// Entry `merge`.
#[inline(always)]
pub(super) fn merge(later: &Partials<'_>, out: &mut Partials<'_>) {
    let rows = out.max.len();
    assert!(out.sum.len() == rows && later.max.len() == rows && later.sum.len() == rows && out.acc.len() == later.acc.len());
    if rows == 0 {
        return;
    }
    let head_dim = out.acc.len() / rows;
    for row in 0..rows {
        let channels = row * head_dim..(row + 1) * head_dim;
        let (a, b) = (&mut out.acc[channels.clone()], &later.acc[channels]);
        let (a_max, b_max) = (out.max[row], later.max[row]);
        if a_max == f32::NEG_INFINITY || b_max == f32::NEG_INFINITY {
            out.sum[row] += later.sum[row];
            if a_max == f32::NEG_INFINITY {
                out.max[row] = b_max;
                a.copy_from_slice(b);
            }
            continue;
        }
        let m = lanes::greater(a_max, b_max);
        let (a_factor, b_factor) = (math::exp_nonpositive(a_max - m), math::exp_nonpositive(b_max - m));
        out.max[row] = m;
        out.sum[row] = out.sum[row] * a_factor + later.sum[row] * b_factor;
        for (a, b) in a.iter_mut().zip(b) {
            *a = *a * a_factor + b * b_factor;
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
