//! Steps of the forward pass, over the chosen kernels and workers.
//!
//! Each step splits its work by output tiles, tokens or heads, never by anything that depends on the workers, and
//! never knows which model it serves.

pub mod attention;

use crate::kernels::Kernels;
use crate::spec::{Norm, Role};
use crate::tensor::{Acts, ActsMut, Matrix, Outputs, TensorError};
use crate::workers::{Parts, Serial, Split, TileParts, Workers, for_each};
use kinglet_quant::{DType, act};

/// Below this many multiply-adds a product stays on one core: waking the others costs more.
const SERIAL_PRODUCT: usize = 1 << 15;
/// Pieces per worker that a product is cut into, so that a core that is held back costs little.
const PIECES_PER_WORKER: usize = 4;
/// Tiles that the widest kernels take at once: a piece that is no multiple of them leaves registers half empty.
const TILES_AT_ONCE: usize = 4;
/// Tokens of a chunk of a step per token: enough that a claim costs little, few enough that cores get equal shares.
pub const CHUNK: usize = 4;
/// Below this many tokens a step per token stays on one core.
const SERIAL_TOKENS: usize = 4;

/// The kernels and workers of a session.
#[derive(Clone, Copy)]
pub struct Ctx<'a> {
    /// Kernels of one instruction set.
    pub kernels: &'static Kernels,
    /// The cores there are.
    pub workers: &'a dyn Workers,
}

impl core::fmt::Debug for Ctx<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Ctx({:?}, {} workers)", self.kernels.isa, self.workers.count())
    }
}

impl Ctx<'_> {
    /// The workers for a step that does little per token.
    #[must_use]
    pub fn workers_for(&self, tokens: usize) -> &dyn Workers {
        if tokens < SERIAL_TOKENS { &Serial } else { self.workers }
    }
}

/// The parameters of a norm.
#[derive(Clone, Copy, Debug)]
pub struct NormWeights<'m> {
    /// Its kind; never [`Norm::None`].
    pub kind: Norm,
    /// `[n]`.
    pub weight: &'m [f32],
    /// `[n]`; empty for RMS norms.
    pub bias: &'m [f32],
    /// Added to the variance.
    pub eps: f32,
}

impl NormWeights<'_> {
    fn apply(&self, kernels: &Kernels, x: &[f32], out: &mut [f32]) {
        match self.kind {
            Norm::Layer => (kernels.layer_norm)(self.weight, self.bias, self.eps, x, out),
            Norm::Rms | Norm::None => (kernels.rms_norm)(self.weight, self.eps, x, out),
        }
    }
}

/// Inputs of matrix products: as f32, and quantised if the weights want that.
#[derive(Debug)]
pub struct Inputs<'a> {
    values: &'a mut [f32],
    quants: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i16],
}

/// The most terms that [`act::terms`] asks for.
const MAX_TERMS: usize = 2;

/// Elements of the four buffers of [`Inputs`] for `tokens` vectors of up to `cols` inputs; `None` on overflow.
#[must_use]
pub fn input_lens(tokens: usize, cols: usize) -> Option<[usize; 4]> {
    let of = |terms: usize, per_token: usize| tokens.checked_mul(terms)?.checked_mul(per_token);
    Some([of(1, cols)?, of(MAX_TERMS, act::padded(cols))?, of(MAX_TERMS, act::groups(cols))?, of(MAX_TERMS, act::blocks(cols))?])
}

impl<'a> Inputs<'a> {
    /// Buffers at least as long as [`input_lens`] says.
    pub fn new(values: &'a mut [f32], quants: &'a mut [i8], scales: &'a mut [f32], sums: &'a mut [i16]) -> Self {
        Self { values, quants, scales, sums }
    }

    /// The floats of `tokens` vectors of `cols` elements, once filled for weights that take floats.
    #[must_use]
    pub fn values(&self, tokens: usize, cols: usize) -> &[f32] {
        &self.values[..tokens * cols]
    }

    /// Fills the inputs of `tokens` vectors of `cols` elements for a product with weights of type `dtype`.
    ///
    /// `fill(token, part, out)` writes one vector; `part` is that of the token's chunk of [`CHUNK`] tokens.
    pub fn fill<P: Parts>(
        &mut self,
        ctx: Ctx<'_>,
        dtype: DType,
        tokens: usize,
        cols: usize,
        parts: P,
        fill: impl Fn(usize, &mut P::Part, &mut [f32]) + Sync,
    ) {
        let (workers, chunks) = (ctx.workers_for(tokens), tokens.div_ceil(CHUNK));
        let values = Split::new(&mut self.values[..tokens * cols], CHUNK * cols);
        if !dtype.is_quantised() {
            return for_each(workers, chunks, (values, parts), |chunk, (values, mut part)| {
                for (i, out) in values.chunks_exact_mut(cols).enumerate() {
                    fill(CHUNK * chunk + i, &mut part, out);
                }
            });
        }
        let terms = act::terms(dtype);
        let [padded, groups, blocks] = [act::padded(cols), act::groups(cols), act::blocks(cols)];
        let parts = (
            values,
            Split::new(&mut self.quants[..tokens * terms * padded], CHUNK * terms * padded),
            Split::new(&mut self.scales[..tokens * terms * groups], CHUNK * terms * groups),
            Split::new(&mut self.sums[..tokens * terms * blocks], CHUNK * terms * blocks),
            parts,
        );
        for_each(workers, chunks, parts, |chunk, (values, quants, scales, sums, mut part)| {
            // Nobody needs the floats again: the place of one vector, which stays in the nearest cache, serves them all.
            let out = &mut values[..cols];
            let vectors = quants.chunks_exact_mut(padded).zip(scales.chunks_exact_mut(groups)).zip(sums.chunks_exact_mut(blocks));
            for (i, ((quants, scales), sums)) in vectors.enumerate() {
                let (token, term) = (CHUNK * chunk + i / terms, i % terms);
                if term == 0 {
                    fill(token, &mut part, out);
                }
                if let Ok(mut acts) = ActsMut::new(1, cols, quants, scales, sums) {
                    (ctx.kernels.quantise)(out, &mut acts);
                    if term + 1 < terms {
                        (ctx.kernels.subtract)(&acts.view(), out);
                    }
                }
            }
        });
    }

    /// Shows the inputs of a product with these weights, if they are floats.
    pub fn show(&self, w: &Matrix<'_>, tokens: usize, role: Role, watch: &mut dyn FnMut(Role, &[f32])) {
        if !w.dtype().is_quantised() {
            watch(role, &self.values[..tokens * w.cols()]);
        }
    }

    fn acts(&self, dtype: DType, tokens: usize, cols: usize) -> Result<Acts<'_>, TensorError> {
        Acts::new(act::terms(dtype) * tokens, cols, self.quants, self.scales, self.sums)
    }
}

/// `out[token] = w x[token]` for `tokens` vectors; `out` is `[tokens][rows]`.
///
/// # Errors
/// If `inputs` or `out` do not have the shapes that `w` and `tokens` ask for.
pub fn matmul(ctx: Ctx<'_>, w: &Matrix<'_>, inputs: &Inputs<'_>, tokens: usize, out: &mut [f32]) -> Result<(), TensorError> {
    let outputs = Outputs::sums(w.rows(), tokens, act::terms(w.dtype()), out)?;
    if tokens == 0 {
        return Ok(()); // and no weight is read
    }
    let small = w.rows().saturating_mul(w.cols()).saturating_mul(tokens) < SERIAL_PRODUCT;
    let workers: &dyn Workers = if small { &Serial } else { ctx.workers };
    let pieces = if workers.count() <= 1 { 1 } else { PIECES_PER_WORKER.saturating_mul(workers.count()) };
    let tiles = match w.tiles().div_ceil(pieces) {
        few @ ..3 => few.max(1),
        many => many.next_multiple_of(TILES_AT_ONCE),
    };
    let count = w.tiles().div_ceil(tiles);
    let parts = TileParts::new(outputs, tiles);
    let expected = tokens.checked_mul(w.cols()).ok_or(TensorError::TooLarge { rows: tokens, cols: w.cols() })?;
    let values = inputs.values.get(..expected).ok_or(TensorError::Length { expected, got: inputs.values.len() })?;
    match w.dtype() {
        DType::F32 => for_each(workers, count, parts, |_, mut part| (ctx.kernels.matmul_f32)(w, values, &mut part)),
        DType::F16 => for_each(workers, count, parts, |_, mut part| (ctx.kernels.matmul_f16)(w, values, &mut part)),
        DType::Q8 => {
            let acts = inputs.acts(w.dtype(), tokens, w.cols())?;
            for_each(workers, count, parts, |_, mut part| (ctx.kernels.matmul_q8)(w, &acts, &mut part));
        }
        DType::Q4 => {
            let acts = inputs.acts(w.dtype(), tokens, w.cols())?;
            for_each(workers, count, parts, |_, mut part| (ctx.kernels.matmul_q4)(w, &acts, &mut part));
        }
    }
    Ok(())
}

/// `x[token] += delta[token] (+ bias)`, then the inputs of the next product from `norm(x[token])`.
/// `x` and `delta` are `[tokens][norm.weight.len()]`; an empty `delta` adds nothing.
pub fn add_norm(
    ctx: Ctx<'_>,
    norm: &NormWeights<'_>,
    x: &mut [f32],
    delta: &[f32],
    bias: Option<&[f32]>,
    dtype: DType,
    inputs: &mut Inputs<'_>,
) {
    let cols = norm.weight.len();
    let tokens = x.len() / cols;
    inputs.fill(ctx, dtype, tokens, cols, Split::new(x, CHUNK * cols), |token, x, out| {
        let x = &mut x[token % CHUNK * cols..][..cols];
        if !delta.is_empty() {
            (ctx.kernels.add)(&delta[token * cols..][..cols], x);
            if let Some(bias) = bias {
                (ctx.kernels.add)(bias, x);
            }
        }
        norm.apply(ctx.kernels, x, out);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_wrong_shapes_are_errors() {
        let ctx = Ctx { kernels: Kernels::best(), workers: &Serial };
        let (mut values, mut quants, mut scales, mut sums) = ([0.0; 8], [0; 64], [0.0; 1], [0; 2]);
        let inputs = Inputs::new(&mut values, &mut quants, &mut scales, &mut sums);
        let none = Matrix::new(DType::F32, 0, 4, &[]).unwrap();
        assert_eq!(matmul(ctx, &none, &inputs, 2, &mut []), Ok(()));
        let huge = Err(TensorError::TooLarge { rows: usize::MAX, cols: 4 });
        assert_eq!(matmul(ctx, &none, &inputs, usize::MAX, &mut []), huge);
        let one = Matrix::new(DType::F32, 1, 4, &[0; 16]).unwrap();
        assert_eq!(matmul(ctx, &one, &inputs, 3, &mut [0.0; 3]), Err(TensorError::Length { expected: 12, got: 8 }));
        assert_eq!(matmul(ctx, &one, &inputs, 2, &mut [0.0; 3]), Err(TensorError::Length { expected: 2, got: 3 }));
        assert_eq!(matmul(ctx, &one, &inputs, 2, &mut [1.0; 2]), Ok(()));
    }
}
