//! The loop: tokens in, logits out, over memory that the caller hands over once.
//!
//! [`Plan`] tells the exact bytes before anything is loaded; [`Session::new`] carves them; nothing is allocated after.
//! A prompt may be split into calls and batches in any way, and run on any number of workers: the bits stay.

pub mod state;

use crate::arena::{self, Arena, TooSmall};
use crate::block::{Batch, Buffers, Pending};
use crate::kernels::Kernels;
use crate::kv::{self, CacheType, Geometry, LayerCache};
use crate::math;
use crate::model::Model;
use crate::ops::attention::{Rope, Scratch, ScratchLens};
use crate::ops::{Ctx, Inputs, add_norm, input_lens, matmul};
use crate::spec::{BlockSpec, Head, Positions, Role, Spec, SpecError, TensorKey};
use crate::tensor::TensorError;
use crate::tokenizer::TokenId;
use crate::workers::{Split, Workers, for_each};
use kinglet_quant::DType;

/// Which tokens an embedding is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The last one.
    Last,
    /// All of them, on average.
    Mean,
}

/// What the caller chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Positions that the cache can hold.
    pub context: usize,
    /// Tokens of a prompt that are run at once, at most.
    pub batch: usize,
    /// How keys and values are stored.
    pub cache: CacheType,
    /// Rows of logits that [`Session::prefill_each`] computes at once.
    pub logit_rows: usize,
}

impl Default for Options {
    /// 2,048 positions, batches of 128, an int8 cache, one row of logits.
    fn default() -> Self {
        Self { context: 2048, batch: 128, cache: CacheType::I8, logit_rows: 1 }
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// The spec breaks a rule; that of a file does not.
    Spec(SpecError),
    /// An option is 0.
    Zero {
        /// Which.
        option: &'static str,
    },
    /// The model has learned positions, and fewer than asked for.
    Context {
        /// What the model has.
        most: usize,
        /// What was asked for.
        got: usize,
    },
    /// The sizes do not fit the address space.
    TooLarge,
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Spec(e) => e.fmt(f),
            Self::Zero { option } => write!(f, "{option} must be at least 1"),
            Self::Context { most, got } => write!(f, "the model has learned {most} positions, a context of {got} was asked for"),
            Self::TooLarge => f.write_str("the memory asked for does not fit the address space"),
        }
    }
}

impl core::error::Error for PlanError {}

/// Lengths of the buffers, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lens {
    x: usize,
    inputs: [usize; 4],
    wide: usize,
    attention: ScratchLens,
    rope: usize,
    logits: usize,
    cache: usize,
}

/// The exact memory of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    options: Options,
    lens: Lens,
    arena_bytes: usize,
}

impl Plan {
    /// Plans a session of a model with this spec.
    ///
    /// # Errors
    /// If the spec breaks a rule, or an option is 0, or more than the model or the address space has.
    pub fn new(spec: &Spec<'_>, options: Options) -> Result<Self, PlanError> {
        spec.check().map_err(PlanError::Spec)?;
        let Options { context, batch, logit_rows, .. } = options;
        for (option, value) in [("context", context), ("batch", batch), ("logit rows", logit_rows)] {
            if value == 0 {
                return Err(PlanError::Zero { option });
            }
        }
        if spec.positions == Positions::Learned && context > spec.context as usize {
            return Err(PlanError::Context { most: spec.context as usize, got: context });
        }
        // More than these are never used.
        let batch = batch.min(context);
        let options = Options { batch, logit_rows: logit_rows.min(batch), ..options };
        let lens = Lens::new(spec, &options).ok_or(PlanError::TooLarge)?;
        let mut arena_bytes = arena::ALIGN - 1;
        for (len, size) in lens.slices() {
            let bytes = arena::slice_bytes(len, size).ok_or(PlanError::TooLarge)?;
            arena_bytes = arena_bytes.checked_add(bytes).ok_or(PlanError::TooLarge)?;
        }
        // No slice is longer.
        if arena_bytes > isize::MAX as usize {
            return Err(PlanError::TooLarge);
        }
        Ok(Self { options, lens, arena_bytes })
    }

    /// What was planned for: a batch is at most the context, and the rows of logits at most the batch.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options
    }

    /// Bytes that [`Session::new`] needs, the cache included.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Bytes of the key/value cache.
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.lens.cache
    }
}

impl Lens {
    /// The lengths for a spec that keeps its rules; `None` on overflow. Those rules keep the widths of a layer far below
    /// 2^32; what a caller's option multiplies is checked.
    fn new(spec: &Spec<'_>, options: &Options) -> Option<Self> {
        let Options { context, batch, cache, logit_rows } = *options;
        let (kinds, hidden) = (spec.stack().kinds(), spec.hidden as usize);
        let widest = |width: fn(&BlockSpec) -> usize| kinds.iter().map(width).max().unwrap_or(0);
        let wide = widest(|b| b.qkv_rows().max(b.up_rows()));
        let deep = widest(|b| b.q_dim().max(b.ffn_dim as usize)).max(hidden);
        let mut attention = ScratchLens::default();
        for block in kinds {
            attention = attention.max(ScratchLens::new(block, context, batch, cache)?);
        }
        Some(Self {
            x: batch.checked_mul(hidden)?,
            inputs: input_lens(batch, deep)?,
            wide: batch.checked_mul(wide)?,
            attention,
            rope: batch.checked_mul(kinds.iter().map(|b| b.rotary_dim as usize / 2).sum())?,
            logits: logit_rows.checked_mul(spec.vocab as usize)?,
            cache: kv::cache_bytes(spec, context, batch, cache)?,
        })
    }

    /// Length and element size of every slice, as [`Memory::carve`] takes them.
    fn slices(&self) -> [(usize, usize); 17] {
        let (a, [values, quants, scales, sums]) = (self.attention, self.inputs);
        let (f, i) = (size_of::<f32>(), size_of::<i8>());
        [
            (self.x, f),
            (self.x, f),
            (values, f),
            (quants, i),
            (scales, f),
            (sums, size_of::<i16>()),
            (self.wide, f),
            (a.quants, i),
            (a.scales, f),
            (a.values, f),
            (a.partial_rows, f),
            (a.partial_rows, f),
            (a.partial_channels, f),
            (self.rope, f),
            (self.rope, f),
            (self.logits, f),
            (self.cache, size_of::<u8>()),
        ]
    }
}

/// Why a session does not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The arena is too small.
    Arena(TooSmall),
    /// The plan is another model's.
    Plan,
    /// No token was given.
    NoTokens,
    /// A token id is not below the vocabulary's size.
    Token {
        /// The id.
        got: TokenId,
        /// The vocabulary's size.
        vocab: u32,
    },
    /// The tokens do not fit the context.
    ContextFull {
        /// Positions that the session has.
        context: usize,
        /// Positions that the tokens would take.
        needed: usize,
    },
    /// A position to go back to is ahead, or has left a sliding window.
    Truncate {
        /// The position asked for.
        got: usize,
        /// The least possible.
        least: usize,
        /// The most possible.
        most: usize,
    },
    /// A buffer does not fit a tensor; a mistake in this crate.
    Tensor(TensorError),
}

impl From<TensorError> for SessionError {
    fn from(e: TensorError) -> Self {
        Self::Tensor(e)
    }
}

impl From<TooSmall> for SessionError {
    fn from(e: TooSmall) -> Self {
        Self::Arena(e)
    }
}

impl core::fmt::Display for SessionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Arena(e) => e.fmt(f),
            Self::Plan => f.write_str("the plan was made for another model"),
            Self::NoTokens => f.write_str("no tokens were given"),
            Self::Token { got, vocab } => write!(f, "token id {} is not below the vocabulary's {vocab}", got.0),
            Self::ContextFull { context, needed } => write!(f, "the context of {context} positions is full: {needed} are needed"),
            Self::Truncate { got, least, most } => write!(f, "cannot go back to position {got}: {least} to {most} are possible"),
            Self::Tensor(e) => write!(f, "internal: {e}"),
        }
    }
}

impl core::error::Error for SessionError {}

/// The carved arena.
#[derive(Debug)]
struct Memory<'a> {
    buffers: Buffers<'a>,
    cos: &'a mut [f32],
    sin: &'a mut [f32],
    logits: &'a mut [f32],
    cache: &'a mut [u8],
}

impl<'a> Memory<'a> {
    fn carve(lens: &Lens, arena: &mut Arena<'a>) -> Result<Self, TooSmall> {
        let [values, quants, scales, sums] = lens.inputs;
        let a = lens.attention;
        Ok(Self {
            buffers: Buffers {
                x: arena.take(lens.x)?,
                delta: arena.take(lens.x)?,
                inputs: Inputs::new(arena.take(values)?, arena.take(quants)?, arena.take(scales)?, arena.take(sums)?),
                wide: arena.take(lens.wide)?,
                attention: Scratch {
                    quants: arena.take(a.quants)?,
                    scales: arena.take(a.scales)?,
                    values: arena.take(a.values)?,
                    max: arena.take(a.partial_rows)?,
                    sum: arena.take(a.partial_rows)?,
                    acc: arena.take(a.partial_channels)?,
                },
            },
            cos: arena.take(lens.rope)?,
            sin: arena.take(lens.rope)?,
            logits: arena.take(lens.logits)?,
            cache: arena.take(lens.cache)?,
        })
    }
}

/// The tokens at the end of a batch whose residual stream is left after the last layer.
#[derive(Clone, Copy, Debug)]
struct Wanted<'m> {
    /// Where the first of them stands in `x`.
    first: usize,
    /// What is still to be added.
    pending: Pending<'m>,
}

/// A conversation with a model: its cache, its position, its buffers.
#[derive(Debug)]
pub struct Session<'a, 'm> {
    model: &'a Model<'m>,
    ctx: Ctx<'a>,
    options: Options,
    memory: Memory<'a>,
    position: usize,
    /// One past the highest position ever stored since the start: what a sliding window has overwritten.
    stored: usize,
    /// The logits are those that follow the last token.
    has_logits: bool,
}

impl<'a, 'm> Session<'a, 'm> {
    /// A session at position 0, over `arena`, which may hold any bytes.
    ///
    /// # Errors
    /// If the arena is smaller than the plan says, or the plan is another model's.
    pub fn new(
        model: &'a Model<'m>,
        plan: &Plan,
        arena: &'a mut [u8],
        kernels: &'static Kernels,
        workers: &'a dyn Workers,
    ) -> Result<Self, SessionError> {
        if Plan::new(model.spec(), plan.options).as_ref() != Ok(plan) {
            return Err(SessionError::Plan);
        }
        if arena.len() < plan.arena_bytes {
            return Err(SessionError::Arena(TooSmall { needed: plan.arena_bytes, got: arena.len() }));
        }
        let memory = Memory::carve(&plan.lens, &mut Arena::new(arena))?;
        Ok(Self { model, ctx: Ctx { kernels, workers }, options: plan.options, memory, position: 0, stored: 0, has_logits: false })
    }

    /// Tokens stored so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Positions that the cache can hold.
    #[must_use]
    pub fn context(&self) -> usize {
        self.options.context
    }

    /// Goes back to position `position`, forgetting what follows.
    ///
    /// # Errors
    /// If that is ahead, or if a sliding window no longer holds what that position attends to (0 is always possible).
    pub fn truncate(&mut self, position: usize) -> Result<(), SessionError> {
        let least = self.least_position(self.stored);
        if position > self.position || (position < least && position != 0) {
            return Err(SessionError::Truncate { got: position, least, most: self.position });
        }
        self.has_logits &= position == self.position;
        self.position = position;
        if position == 0 {
            self.stored = 0;
        }
        Ok(())
    }

    /// The least position but 0 that can be gone on from when `stored` positions were stored: windows have let go of what is before.
    fn least_position(&self, stored: usize) -> usize {
        let windows = self.model.spec().stack().kinds().iter().filter(|b| b.window > 0);
        let least = windows.map(|block| {
            let kept = Geometry::new(block, self.options.context, self.options.batch, self.options.cache).positions();
            // The oldest position still stored must not be needed: position - window + 1 >= stored - kept.
            if stored <= kept { 0 } else { stored - kept + block.window as usize - 1 }
        });
        least.max().unwrap_or(0)
    }

    /// The logits that follow the last token, `[vocab]`, as [`Session::prefill`] returned them; `None` before it, and after
    /// anything else that moved the position.
    #[must_use]
    pub fn logits(&self) -> Option<&[f32]> {
        self.has_logits.then(|| &self.memory.logits[..self.model.spec().vocab as usize])
    }

    /// Runs `tokens` after those before and returns the logits that follow the last: `[vocab]`.
    ///
    /// # Errors
    /// If there is no token, an id is out of range, or the context has too little room; then nothing is stored.
    pub fn prefill(&mut self, tokens: &[TokenId]) -> Result<&mut [f32], SessionError> {
        self.prefill_while(tokens, &mut |_| true)?;
        Ok(&mut self.memory.logits[..self.model.spec().vocab as usize])
    }

    /// The same, asking `go_on` before each batch but the first, with how many tokens are done. Returns how many were: all of
    /// them, and [`Session::logits`] has what follows, or those before it said no.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn prefill_while(&mut self, tokens: &[TokenId], go_on: &mut dyn FnMut(usize) -> bool) -> Result<usize, SessionError> {
        self.check(tokens)?;
        let mut done = 0;
        for batch in tokens.chunks(self.options.batch) {
            if done > 0 && !go_on(done) {
                return Ok(done);
            }
            done += batch.len();
            let last = usize::from(done == tokens.len());
            let wanted = self.forward(batch, last, &mut |_, _| {})?;
            if last > 0 {
                self.head(&wanted, 0, last)?;
                self.has_logits = true;
            }
        }
        Ok(done)
    }

    /// Runs `tokens` after those before and writes what the last layer makes of them, normed as for the head, `[hidden]`: of the
    /// last token, or the mean over all of them. The bits do not depend on batches.
    ///
    /// # Errors
    /// As [`Session::prefill`], and if `out` is not `[hidden]`.
    pub fn embed(&mut self, tokens: &[TokenId], pooling: Pooling, out: &mut [f32]) -> Result<(), SessionError> {
        self.embed_while(tokens, pooling, out, &mut |_| true).map(drop)
    }

    /// The same, asking `go_on` as [`Session::prefill_while`] does. Returns how many tokens were run; if not all, `out` is no embedding.
    ///
    /// # Errors
    /// As [`Session::embed`].
    pub fn embed_while(
        &mut self,
        tokens: &[TokenId],
        pooling: Pooling,
        out: &mut [f32],
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<usize, SessionError> {
        self.check(tokens)?;
        let hidden = self.model.spec().hidden as usize;
        if out.len() != hidden {
            return Err(SessionError::Tensor(TensorError::Length { expected: hidden, got: out.len() }));
        }
        out.fill(0.0);
        let mut done = 0;
        for batch in tokens.chunks(self.options.batch) {
            if done > 0 && !go_on(done) {
                return Ok(done);
            }
            done += batch.len();
            let rows = match pooling {
                Pooling::Last => usize::from(done == tokens.len()),
                Pooling::Mean => batch.len(),
            };
            let wanted = self.forward(batch, rows, &mut |_, _| {})?;
            self.final_norm(&wanted, 0, rows, DType::F32);
            for row in self.memory.buffers.inputs.values(rows, hidden).chunks_exact(hidden) {
                (self.ctx.kernels.add)(row, out);
            }
        }
        if pooling == Pooling::Mean {
            out.iter_mut().for_each(|x| *x /= tokens.len() as f32);
        }
        Ok(done)
    }

    /// Runs `tokens` and hands `each` the position and the logits `[vocab]` of every one of them.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn prefill_each(&mut self, tokens: &[TokenId], each: &mut dyn FnMut(usize, &[f32])) -> Result<(), SessionError> {
        self.check(tokens)?;
        let vocab = self.model.spec().vocab as usize;
        for batch in tokens.chunks(self.options.batch) {
            let start = self.position;
            let wanted = self.forward(batch, batch.len(), &mut |_, _| {})?;
            for first in (0..batch.len()).step_by(self.options.logit_rows) {
                let rows = self.options.logit_rows.min(batch.len() - first);
                self.head(&wanted, first, rows)?;
                for (i, logits) in self.memory.logits.chunks_exact(vocab).take(rows).enumerate() {
                    each(start + first + i, logits);
                }
            }
        }
        Ok(())
    }

    /// Runs `tokens` and shows `watch` what every matrix with float weights is multiplied with: the tensor and its
    /// inputs `[tokens][cols]`, batch after batch. The head's come under the key of the matrix that it is.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn observe(&mut self, tokens: &[TokenId], watch: &mut dyn FnMut(TensorKey, &[f32])) -> Result<(), SessionError> {
        self.check(tokens)?;
        let model = self.model;
        let role = if model.spec().head == Head::Own { Role::Head } else { Role::TokenEmbedding };
        for batch in tokens.chunks(self.options.batch) {
            let wanted = self.forward(batch, batch.len(), watch)?;
            self.final_norm(&wanted, 0, batch.len(), model.head().dtype());
            let watch = &mut |role, inputs: &[f32]| watch(TensorKey { stack: 0, layer: 0, role }, inputs);
            self.memory.buffers.inputs.show(&model.head(), batch.len(), role, watch);
        }
        Ok(())
    }

    fn check(&self, tokens: &[TokenId]) -> Result<(), SessionError> {
        let (context, vocab) = (self.options.context, self.model.spec().vocab);
        if tokens.is_empty() {
            return Err(SessionError::NoTokens);
        }
        if tokens.len() > context - self.position {
            return Err(SessionError::ContextFull { context, needed: self.position.saturating_add(tokens.len()) });
        }
        match tokens.iter().find(|id| id.0 >= vocab) {
            Some(&got) => Err(SessionError::Token { got, vocab }),
            None => Ok(()),
        }
    }

    /// Runs one batch through all layers; of its last `wanted` tokens the residual stream is left.
    fn forward(&mut self, tokens: &[TokenId], wanted: usize, watch: &mut dyn FnMut(TensorKey, &[f32])) -> Result<Wanted<'m>, SessionError> {
        let (model, spec) = (self.model, self.model.spec());
        let stack = spec.stack();
        self.look_up(tokens);
        self.rotate(tokens.len());
        let m = &mut self.memory;
        let mut rest = &mut *m.cache;
        let mut pending = Pending::Nothing;
        for layer in 0..stack.len() {
            let (mut cache, left) = next_layer(rest, spec, layer, &self.options);
            rest = left;
            let rotations = rope_range(spec, stack.kind_of(layer), self.options.batch);
            let rope = Rope { cos: &m.cos[rotations.clone()], sin: &m.sin[rotations] };
            // The next layer reads every token; after the last one nobody does.
            let wanted = if layer + 1 < stack.len() { tokens.len() } else { wanted };
            let batch = Batch { position: self.position, tokens: tokens.len(), wanted, rope };
            let mut watch = |role, inputs: &[f32]| watch(TensorKey { stack: 1, layer: layer as u16, role }, inputs);
            pending = model.block(layer).forward(self.ctx, batch, pending, &mut cache, &mut m.buffers, &mut watch)?;
        }
        self.position += tokens.len();
        self.stored = self.stored.max(self.position);
        self.has_logits = false;
        Ok(Wanted { first: tokens.len() - wanted, pending })
    }

    /// `x[t] = embedding[token] * scale + positions[t]`.
    fn look_up(&mut self, tokens: &[TokenId]) {
        let spec = self.model.spec();
        let (hidden, table, positions) = (spec.hidden as usize, self.model.token_embedding(), self.model.position_embedding());
        let (ctx, position, b) = (self.ctx, self.position, &mut self.memory.buffers);
        let parts = (Split::new(&mut b.x[..tokens.len() * hidden], hidden), Split::new(&mut b.delta[..tokens.len() * hidden], hidden));
        for_each(ctx.workers_for(tokens.len()), tokens.len(), parts, |i, (x, row)| {
            table.read_row(tokens[i].0 as usize, x);
            if spec.embed_scale != 1.0 {
                x.iter_mut().for_each(|x| *x *= spec.embed_scale);
            }
            if let Some(positions) = &positions {
                positions.read_row(position + i, row);
                (ctx.kernels.add)(row, x);
            }
        });
    }

    /// Sines and cosines of the batch's positions, for every kind of block.
    fn rotate(&mut self, tokens: usize) {
        let spec = self.model.spec();
        for (kind, block) in spec.stack().kinds().iter().enumerate() {
            let half = block.rotary_dim as usize / 2;
            if half == 0 {
                continue;
            }
            let range = rope_range(spec, kind, self.options.batch);
            let (cos, sin) = (&mut self.memory.cos[range.clone()], &mut self.memory.sin[range]);
            let (position, frequencies) = (self.position, self.model.rotary_frequencies(kind));
            for_each(self.ctx.workers_for(tokens), tokens, (Split::new(cos, half), Split::new(sin, half)), |t, (cos, sin)| {
                for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
                    let (s, c) = math::sin_cos((position + t) as f32 * frequency);
                    *cos = c * block.rotary_magnitude;
                    *sin = s * block.rotary_magnitude;
                }
            });
        }
    }

    /// The inputs of a product with weights of type `dtype` for `rows` of the wanted tokens, from `first`; once for each token,
    /// because what is pending is added.
    fn final_norm(&mut self, wanted: &Wanted<'_>, first: usize, rows: usize, dtype: DType) {
        let (model, hidden) = (self.model, self.model.spec().hidden as usize);
        let b = &mut self.memory.buffers;
        let (delta, bias) = wanted.pending.of(&b.delta[first * hidden..][..rows * hidden]);
        let x = &mut b.x[(wanted.first + first) * hidden..][..rows * hidden];
        add_norm(self.ctx, &model.final_norm(), x, delta, bias, dtype, &mut b.inputs);
    }

    /// Logits of `rows` of the wanted tokens, from `first`.
    fn head(&mut self, wanted: &Wanted<'_>, first: usize, rows: usize) -> Result<(), SessionError> {
        self.final_norm(wanted, first, rows, self.model.head().dtype());
        let (model, spec) = (self.model, self.model.spec());
        let vocab = spec.vocab as usize;
        let m = &mut self.memory;
        let head = model.head();
        let logits = &mut m.logits[..rows * vocab];
        matmul(self.ctx, &head, &m.buffers.inputs, rows, logits)?;
        for logits in logits.chunks_exact_mut(vocab) {
            if let Some(bias) = model.head_bias() {
                (self.ctx.kernels.add)(bias, logits);
            }
            if spec.head_scale != 1.0 {
                logits.iter_mut().for_each(|x| *x *= spec.head_scale);
            }
        }
        Ok(())
    }
}

/// Cuts the next layer's cache off `rest`.
fn next_layer<'c>(rest: &'c mut [u8], spec: &Spec<'_>, layer: usize, options: &Options) -> (LayerCache<'c>, &'c mut [u8]) {
    let geometry = Geometry::new(spec.stack().block(layer), options.context, options.batch, options.cache);
    // The plan summed these without overflow.
    let (front, left) = rest.split_at_mut(geometry.layer_bytes().unwrap_or(0));
    (LayerCache::new(geometry, front), left)
}

/// Where the rotations of a kind of block stand: `[batch][rotary_dim / 2]`.
fn rope_range(spec: &Spec<'_>, kind: usize, batch: usize) -> core::ops::Range<usize> {
    let len = |b: &BlockSpec| batch * (b.rotary_dim as usize / 2);
    let kinds = spec.stack().kinds();
    let start: usize = kinds[..kind].iter().map(len).sum();
    start..start + len(&kinds[kind])
}
