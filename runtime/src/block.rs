//! One layer: attention and feed-forward, composed as the spec says.

use crate::kv::LayerCache;
use crate::model::Block;
use crate::ops::attention::{Attention, Rope, Scratch};
use crate::ops::{Ctx, Inputs, add_norm, matmul};
use crate::spec::{Ffn, Role};
use crate::tensor::TensorError;

/// The buffers of a forward pass, sized for the widest layer and the largest batch.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// `[batch][hidden]`: the residual stream.
    pub x: &'a mut [f32],
    /// Inputs of the next product.
    pub inputs: Inputs<'a>,
    /// `[batch][widest product]`.
    pub wide: &'a mut [f32],
    /// `[batch][hidden]`: what the last product adds to the residual stream.
    pub delta: &'a mut [f32],
    /// Attention's own.
    pub attention: Scratch<'a>,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Position of its first token.
    pub position: usize,
    /// Tokens.
    pub tokens: usize,
    /// Tokens at its end whose residual stream is wanted after the layer; the others only leave their keys and values.
    pub wanted: usize,
    /// Rotations of its positions for this layer's kind.
    pub rope: Rope<'a>,
}

/// Is shown the inputs of products, `[tokens][cols]`, as f32: for calibration. Products whose weights are quantised are
/// not shown, because their inputs no longer exist as floats.
pub type Watch<'w> = &'w mut dyn FnMut(Role, &[f32]);

/// What the layer before still has to add to the residual stream.
#[derive(Clone, Copy, Debug)]
pub enum Pending<'m> {
    /// Nothing: this is the first layer.
    Nothing,
    /// `delta`, and the bias of the product that made it.
    Delta(Option<&'m [f32]>),
}

impl<'m> Pending<'m> {
    /// The slice to add, and its bias.
    #[must_use]
    pub fn of<'d>(&self, delta: &'d [f32]) -> (&'d [f32], Option<&'m [f32]>) {
        match *self {
            Pending::Nothing => (&[], None),
            Pending::Delta(bias) => (delta, bias),
        }
    }
}

impl<'m> Block<'m> {
    /// Runs the layer over a batch; its last addition to the residual stream of the wanted tokens is left pending.
    ///
    /// # Errors
    /// Never, if the buffers were sized by the session's plan.
    pub fn forward(
        &self,
        ctx: Ctx<'_>,
        batch: Batch<'_>,
        pending: Pending<'_>,
        cache: &mut LayerCache<'_>,
        b: &mut Buffers<'_>,
        watch: Watch<'_>,
    ) -> Result<Pending<'m>, TensorError> {
        let Batch { position, tokens, wanted, rope } = batch;
        let hidden = self.down.rows();
        let x = &mut b.x[..tokens * hidden]; // [tokens, hidden]
        let delta = &mut b.delta[..tokens * hidden]; // [tokens, hidden]

        // x += (what is pending);  qkv = Wqkv norm(x)
        let (added, bias) = pending.of(delta);
        add_norm(ctx, &self.attn_norm, x, added, bias, self.qkv.dtype(), &mut b.inputs);
        let qkv = &mut b.wide[..tokens * self.qkv.rows()]; // [tokens, qkv_rows]
        b.inputs.show(&self.qkv, tokens, Role::AttnQkv, watch);
        matmul(ctx, &self.qkv, &b.inputs, tokens, qkv)?;

        // delta = Wout attention(qkv)
        let attention = Attention { block: &self.spec, position, tokens, wanted, qkv, qkv_bias: self.qkv_bias, rope };
        attention.run(ctx, cache, &mut b.attention, self.out.dtype(), &mut b.inputs);
        let (x, delta) = (&mut x[(tokens - wanted) * hidden..], &mut delta[..wanted * hidden]); // [wanted, hidden]
        let tokens = wanted;
        b.inputs.show(&self.out, tokens, Role::AttnOut, watch);
        matmul(ctx, &self.out, &b.inputs, tokens, delta)?;

        // x += delta;  up = Wup norm(x)
        add_norm(ctx, &self.ffn_norm, x, delta, self.out_bias, self.up.dtype(), &mut b.inputs);
        let up = &mut b.wide[..tokens * self.up.rows()]; // [tokens, ffn_dim or 2 ffn_dim]
        b.inputs.show(&self.up, tokens, Role::FfnUp, watch);
        matmul(ctx, &self.up, &b.inputs, tokens, up)?;

        // delta = Wdown activation(up)
        self.activate(ctx, tokens, up, &mut b.inputs);
        b.inputs.show(&self.down, tokens, Role::FfnDown, watch);
        matmul(ctx, &self.down, &b.inputs, tokens, delta)?;
        Ok(Pending::Delta(self.down_bias))
    }

    /// The inputs of the down projection from the outputs of the up projection.
    fn activate(&self, ctx: Ctx<'_>, tokens: usize, up: &[f32], inputs: &mut Inputs<'_>) {
        let (f, ffn_dim, rows) = (self.spec.activation, self.down.cols(), self.up.rows());
        inputs.fill(ctx, self.down.dtype(), tokens, ffn_dim, (), |token, (), out| {
            let up = &up[token * rows..][..rows];
            let half = |i: usize| &up[i * ffn_dim..][..ffn_dim];
            let bias = |i: usize| self.up_bias.map(|bias| &bias[i * ffn_dim..][..ffn_dim]);
            out.copy_from_slice(half(0));
            if let Some(bias) = bias(0) {
                (ctx.kernels.add)(bias, out);
            }
            match (self.spec.ffn, bias(0)) {
                (Ffn::Plain, _) => (ctx.kernels.activate)(f, out),
                (Ffn::Gated, None) => (ctx.kernels.activate_gated)(f, half(1), out),
                (Ffn::Gated, Some(_)) => {
                    // The bias of `up` has nowhere to go but a second pass: f(gate) first, then times (up + bias).
                    (ctx.kernels.activate)(f, out);
                    for ((out, up), bias) in out.iter_mut().zip(half(1)).zip(bias(1).unwrap_or_default()) {
                        *out *= up + bias;
                    }
                }
            }
        });
    }
}
