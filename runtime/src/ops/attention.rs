//! Causal attention over the cache: rotate and store, attend in parallel, merge.
//!
//! The work is cut into tasks of one key/value head and a few tokens; when there is one token, of one span of positions
//! instead, so that all cores share a long context. Either way every row adds the same spans in the same order.

use super::{CHUNK, Ctx, Inputs};
use crate::kernels::attention::{MAX_HEAD_DIM, Partials, QueriesF32, QueriesI8, Reach, SPAN};
use crate::kv::{CacheType, HeadMut, HeadRef, LayerCache};
use crate::spec::BlockSpec;
use crate::workers::{Split, for_each};
use kinglet_quant::DType;

/// Tokens of a task.
const TASK_TOKENS: usize = 8;
/// Query rows of one kernel call.
const CALL_ROWS: usize = 32;

/// Sines and cosines of the positions of a batch, `[tokens][rotary_dim / 2]` each; empty without rotary embedding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rope<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
}

/// Elements of the buffers of [`Scratch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchLens {
    /// int8 queries.
    pub quants: usize,
    /// Query scales.
    pub scales: usize,
    /// f32 queries.
    pub values: usize,
    /// Rows of partial results; each has a maximum, a sum and `head_dim` channels.
    pub partial_rows: usize,
    /// Channels of partial results.
    pub partial_channels: usize,
}

impl ScratchLens {
    /// What a layer needs for `batch` tokens over `context` positions; `None` on overflow.
    #[must_use]
    pub fn new(block: &BlockSpec, context: usize, batch: usize, cache: CacheType) -> Option<Self> {
        let (heads, head_dim) = (block.heads as usize, block.head_dim as usize);
        let rows = heads.checked_mul(batch.checked_next_multiple_of(TASK_TOKENS)?)?;
        let channels = rows.checked_mul(head_dim)?;
        // A task keeps a running and a new partial for each of its rows; with one token, tasks are spans.
        let partial_rows = rows.max(heads.checked_mul(context.div_ceil(SPAN))?).checked_mul(2)?;
        let quantised = cache == CacheType::I8;
        Some(Self {
            quants: if quantised { channels } else { 0 },
            scales: if quantised { rows } else { 0 },
            values: if quantised { 0 } else { channels },
            partial_rows,
            partial_channels: partial_rows.checked_mul(head_dim)?,
        })
    }

    /// Enough for either.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            quants: self.quants.max(other.quants),
            scales: self.scales.max(other.scales),
            values: self.values.max(other.values),
            partial_rows: self.partial_rows.max(other.partial_rows),
            partial_channels: self.partial_channels.max(other.partial_channels),
        }
    }
}

/// Memory of the step, at least as long as [`ScratchLens`] says.
#[derive(Debug)]
#[expect(missing_docs, reason = "named as in ScratchLens")]
pub struct Scratch<'a> {
    pub quants: &'a mut [i8],
    pub scales: &'a mut [f32],
    pub values: &'a mut [f32],
    pub max: &'a mut [f32],
    pub sum: &'a mut [f32],
    pub acc: &'a mut [f32],
}

/// What a layer's attention works on.
#[derive(Debug)]
pub struct Attention<'a, 'm> {
    /// The layer's parameters.
    pub block: &'a BlockSpec,
    /// Position of the first token.
    pub position: usize,
    /// Tokens of the batch.
    pub tokens: usize,
    /// Tokens at its end whose outputs are wanted.
    pub wanted: usize,
    /// `[tokens][qkv_rows]`, without bias.
    pub qkv: &'a [f32],
    /// `[qkv_rows]`, or empty.
    pub qkv_bias: &'m [f32],
    /// Rotations of the batch's positions.
    pub rope: Rope<'a>,
}

impl Attention<'_, '_> {
    /// Stores the batch's keys and values, attends, and fills the inputs of the output product (of type `dtype`) for the
    /// tokens that are wanted.
    pub fn run(&self, ctx: Ctx<'_>, cache: &mut LayerCache<'_>, s: &mut Scratch<'_>, dtype: DType, inputs: &mut Inputs<'_>) {
        self.store(ctx, cache);
        let wanted = self.last(self.wanted);
        let plan = Tasks::new(&wanted);
        wanted.query(ctx, cache.geometry().kind, s);
        wanted.attend(ctx, cache, &plan, s);
        wanted.merge(ctx, &plan, s, dtype, inputs);
    }

    /// The last `tokens` of the batch, as a batch of their own.
    fn last(&self, tokens: usize) -> Self {
        let first = self.tokens - tokens;
        let half = if self.rope.cos.is_empty() { 0 } else { self.block.rotary_dim as usize / 2 };
        let rope = Rope { cos: &self.rope.cos[first * half..], sin: &self.rope.sin[first * half..] };
        Self { position: self.position + first, tokens, wanted: tokens, qkv: &self.qkv[first * self.block.qkv_rows()..], rope, ..*self }
    }

    fn group(&self) -> usize {
        (self.block.heads / self.block.kv_heads) as usize
    }

    fn head_dim(&self) -> usize {
        self.block.head_dim as usize
    }

    /// One head of one token with its bias, rotated if it is a query or a key.
    fn head(&self, ctx: Ctx<'_>, token: usize, head: usize, rotate: bool, out: &mut [f32]) {
        let at = head * self.head_dim();
        out.copy_from_slice(&self.qkv[token * self.block.qkv_rows() + at..][..out.len()]);
        if !self.qkv_bias.is_empty() {
            (ctx.kernels.add)(&self.qkv_bias[at..][..out.len()], out);
        }
        if rotate && !self.rope.cos.is_empty() {
            let half = self.block.rotary_dim as usize / 2;
            (ctx.kernels.rope)(&self.rope.cos[token * half..][..half], &self.rope.sin[token * half..][..half], out);
        }
    }

    /// Rotates the keys and stores them and the values.
    fn store(&self, ctx: Ctx<'_>, cache: &mut LayerCache<'_>) {
        let geometry = cache.geometry();
        let (heads, kv_heads) = (self.block.heads as usize, self.block.kv_heads as usize);
        for_each(ctx.workers_for(self.tokens), kv_heads, cache.heads_mut(), |kv_head, record| {
            let mut record = HeadMut::new(geometry, record);
            let (mut key, mut value) = ([0.0; MAX_HEAD_DIM], [0.0; MAX_HEAD_DIM]);
            let (key, value) = (&mut key[..self.head_dim()], &mut value[..self.head_dim()]);
            for token in 0..self.tokens {
                self.head(ctx, token, heads + kv_head, true, key);
                self.head(ctx, token, heads + kv_heads + kv_head, false, value);
                record.append(ctx.kernels, self.position + token, key, value);
            }
        });
    }

    /// Rotates the queries, and quantises them for a cache that is, to `[kv_head][token][head of the group][head_dim]`.
    fn query(&self, ctx: Ctx<'_>, kind: CacheType, s: &mut Scratch<'_>) {
        let (group, head_dim, rows) = (self.group(), self.head_dim(), self.tokens * self.block.heads as usize);
        let of_row = |row: usize, out: &mut [f32]| {
            let (kv_head, row) = (row / (self.tokens * group), row % (self.tokens * group));
            self.head(ctx, row / group, kv_head * group + row % group, true, out);
        };
        // As many rows as there are in a chunk of tokens, wherever they lie.
        let part = CHUNK * self.block.heads as usize;
        let (workers, parts) = (ctx.workers_for(self.tokens), rows.div_ceil(part));
        match kind {
            CacheType::I8 => {
                let quants = Split::new(&mut s.quants[..rows * head_dim], part * head_dim);
                let scales = Split::new(&mut s.scales[..rows], part);
                for_each(workers, parts, (quants, scales), |index, (quants, scales)| {
                    let mut query = [0.0; MAX_HEAD_DIM];
                    let query = &mut query[..head_dim];
                    for (i, (quants, scale)) in quants.chunks_exact_mut(head_dim).zip(scales).enumerate() {
                        of_row(index * part + i, query);
                        (ctx.kernels.quantise_heads)(query, core::slice::from_mut(scale), quants);
                        *scale *= self.block.attn_scale;
                    }
                });
            }
            CacheType::F32 => {
                for_each(workers, parts, Split::new(&mut s.values[..rows * head_dim], part * head_dim), |index, values| {
                    for (i, query) in values.chunks_exact_mut(head_dim).enumerate() {
                        of_row(index * part + i, query);
                    }
                });
            }
        }
    }

    /// The positions that token `token` of the batch attends to.
    fn reach(&self, token: usize) -> Reach {
        let end = self.position + token + 1;
        let start = match self.block.window as usize {
            0 => 0,
            window => end.saturating_sub(window),
        };
        Reach { start, end }
    }

    fn attend(&self, ctx: Ctx<'_>, cache: &LayerCache<'_>, plan: &Tasks, s: &mut Scratch<'_>) {
        let (group, head_dim) = (self.group(), self.head_dim());
        let slot = plan.rows;
        let (quants, scales, values) = (&*s.quants, &*s.scales, &*s.values);
        let parts = (
            Split::new(&mut s.max[..plan.count * 2 * slot], 2 * slot),
            Split::new(&mut s.sum[..plan.count * 2 * slot], 2 * slot),
            Split::new(&mut s.acc[..plan.count * 2 * slot * head_dim], 2 * slot * head_dim),
        );
        for_each(ctx.workers, plan.count, parts, |task, (max, sum, acc)| {
            let Task { kv_head, tokens, spans } = plan.task(self, task);
            let head = cache.head(kv_head);
            let first_row = tokens.start * group;
            let (max, max_new) = max.split_at_mut(slot);
            let (sum, sum_new) = sum.split_at_mut(slot);
            let (acc, acc_new) = acc.split_at_mut(slot * head_dim);
            let rows = tokens.len() * group;
            for start in (0..rows).step_by(CALL_ROWS) {
                let n = CALL_ROWS.min(rows - start);
                let mut reach = [Reach { start: 0, end: 0 }; CALL_ROWS];
                for (i, reach) in reach[..n].iter_mut().enumerate() {
                    *reach = self.reach((first_row + start + i) / group);
                }
                let reach = &reach[..n];
                let row = kv_head * self.tokens * group + first_row + start;
                let call = |span: usize, out: &mut Partials<'_>| match &head {
                    HeadRef::I8(cache) => {
                        let queries = QueriesI8 { quants: &quants[row * head_dim..][..n * head_dim], scales: &scales[row..][..n], reach };
                        (ctx.kernels.attend_i8)(cache, &queries, span, out);
                    }
                    HeadRef::F32(cache) => {
                        let queries = QueriesF32 { values: &values[row * head_dim..][..n * head_dim], scale: self.block.attn_scale, reach };
                        (ctx.kernels.attend_f32)(cache, &queries, span, out);
                    }
                };
                let (rows, channels) = (start..start + n, start * head_dim..(start + n) * head_dim);
                let mut running = Partials { max: &mut max[rows.clone()], sum: &mut sum[rows.clone()], acc: &mut acc[channels.clone()] };
                let mut new = Partials { max: &mut max_new[rows.clone()], sum: &mut sum_new[rows], acc: &mut acc_new[channels] };
                call(spans.start, &mut running);
                for span in spans.start + 1..spans.end {
                    call(span, &mut new);
                    (ctx.kernels.merge)(&new, &mut running);
                }
            }
        });
    }

    /// Merges the tasks of a row and fills the inputs of the next product.
    fn merge(&self, ctx: Ctx<'_>, plan: &Tasks, s: &mut Scratch<'_>, dtype: DType, inputs: &mut Inputs<'_>) {
        let (group, head_dim) = (self.group(), self.head_dim());
        let slot = 2 * plan.rows;
        if plan.spans_apart > 1 {
            let tasks_per_head = plan.spans_apart;
            for first in (0..plan.count).step_by(tasks_per_head) {
                let (max, max_later) = s.max[first * slot..][..tasks_per_head * slot].split_at_mut(slot);
                let (sum, sum_later) = s.sum[first * slot..][..tasks_per_head * slot].split_at_mut(slot);
                let (acc, acc_later) = s.acc[first * slot * head_dim..][..tasks_per_head * slot * head_dim].split_at_mut(slot * head_dim);
                let mut running = Partials { max: &mut max[..group], sum: &mut sum[..group], acc: &mut acc[..group * head_dim] };
                for i in 0..tasks_per_head - 1 {
                    let (rows, channels) = (i * slot..i * slot + group, i * slot * head_dim..(i * slot + group) * head_dim);
                    let later = Partials { max: &mut max_later[rows.clone()], sum: &mut sum_later[rows], acc: &mut acc_later[channels] };
                    (ctx.kernels.merge)(&later, &mut running);
                }
            }
        }
        let (sum, acc) = (&*s.sum, &*s.acc);
        inputs.fill(ctx, dtype, self.tokens, self.block.q_dim(), (), |token, (), out| {
            for (kv_head, out) in out.chunks_exact_mut(group * head_dim).enumerate() {
                let row = plan.first_task(kv_head, token) * slot + token % TASK_TOKENS * group;
                crate::kernels::attention::finish(&sum[row..][..group], &acc[row * head_dim..][..group * head_dim], out);
            }
        });
    }
}

/// How a layer's attention is cut.
struct Tasks {
    count: usize,
    /// Rows that a task has room for.
    rows: usize,
    /// Tasks per key/value head that differ in their tokens.
    chunks: usize,
    /// Tasks per key/value head that differ in their span.
    spans_apart: usize,
    first_span: usize,
}

struct Task {
    kv_head: usize,
    tokens: core::ops::Range<usize>,
    spans: core::ops::Range<usize>,
}

impl Tasks {
    fn new(a: &Attention<'_, '_>) -> Self {
        let first_span = a.reach(0).start / SPAN;
        let chunks = a.tokens.div_ceil(TASK_TOKENS);
        let (rows, spans_apart) =
            if a.tokens == 1 { (a.group(), a.position / SPAN + 1 - first_span) } else { (TASK_TOKENS * a.group(), 1) };
        Self { count: a.block.kv_heads as usize * chunks * spans_apart, rows, chunks, spans_apart, first_span }
    }

    /// The first of the tasks that hold a row.
    fn first_task(&self, kv_head: usize, token: usize) -> usize {
        (kv_head * self.chunks + token / TASK_TOKENS) * self.spans_apart
    }

    fn task(&self, a: &Attention<'_, '_>, index: usize) -> Task {
        let (rest, span) = (index / self.spans_apart, index % self.spans_apart);
        let (kv_head, chunk) = (rest / self.chunks, rest % self.chunks);
        let tokens = chunk * TASK_TOKENS..((chunk + 1) * TASK_TOKENS).min(a.tokens);
        let spans = if self.spans_apart > 1 {
            self.first_span + span..self.first_span + span + 1
        } else {
            a.reach(tokens.start).start / SPAN..(a.reach(tokens.end - 1).end - 1) / SPAN + 1
        };
        Task { kv_head, tokens, spans }
    }
}
