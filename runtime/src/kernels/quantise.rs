//! Activations to int8 on vector machines: the walk over groups of the law of [`kinglet_quant::act`], written once.
//!
//! An instruction set supplies [`Quants`]. Everything here is `#[inline(always)]`, so that each entry of a table compiles
//! it with its own features.

use super::{check_heads, check_quantise, lanes};
use crate::tensor::ActsMut;
use kinglet_quant::{BLOCK, act};

/// What an instruction set supplies.
pub(super) trait Quants {
    /// The largest magnitude of a group, NaN being passed over.
    fn peak(x: &[f32]) -> f32;

    /// Quantises a block and returns its sum.
    fn block(x: &[f32; BLOCK], factor: f32, quants: &mut [i8; BLOCK]) -> i16;
}

/// The largest quant.
pub(super) const QUANT_MAX: f32 = act::QUANT_MAX as f32;

/// Entry `quantise`.
#[inline(always)]
pub(super) fn quantise<Q: Quants>(x: &[f32], out: &mut ActsMut<'_>) {
    check_quantise(x, out);
    for (x, (quants, scales, sums)) in x.chunks_exact(out.cols().max(1)).zip(out.rows()) {
        // All peaks first: a division waits for a peak, and the work of other groups fills the wait.
        for (x, scale) in x.chunks(act::GROUP).zip(&mut *scales) {
            *scale = Q::peak(x);
        }
        let groups = x.chunks(act::GROUP).zip(quants.chunks_mut(act::GROUP)).zip(sums.chunks_mut(act::GROUP / BLOCK));
        for (((x, quants), sums), scale) in groups.zip(scales) {
            *scale = group::<Q>(x, *scale, quants, sums);
        }
    }
}

/// Entry `quantise_heads`.
#[inline(always)]
pub(super) fn quantise_heads<Q: Quants>(x: &[f32], scales: &mut [f32], quants: &mut [i8]) {
    let head_dim = check_heads(x, scales, quants);
    for ((x, quants), scale) in x.chunks_exact(head_dim).zip(quants.chunks_exact_mut(head_dim)).zip(scales) {
        *scale = group::<Q>(x, Q::peak(x), quants, &mut []);
    }
}

/// Quantises one group and returns its scale. Quants and sums beyond the inputs are 0; `sums` may have room for none.
#[inline(always)]
fn group<Q: Quants>(x: &[f32], peak: f32, quants: &mut [i8], sums: &mut [i16]) -> f32 {
    if peak < act::TINY {
        quants.fill(0);
        sums.fill(0);
        return 0.0;
    }
    let factor = QUANT_MAX / peak;
    let (blocks, tail) = x.as_chunks::<BLOCK>();
    let (whole, rest) = quants.split_at_mut(blocks.len() * BLOCK);
    let mut sums = sums.iter_mut();
    for (x, quants) in blocks.iter().zip(whole.as_chunks_mut().0) {
        let sum = Q::block(x, factor, quants);
        if let Some(place) = sums.next() {
            *place = sum;
        }
    }
    if let Some(x) = lanes::padded(tail) {
        let mut quants = [0; BLOCK];
        let sum = Q::block(&x, factor, &mut quants);
        let len = rest.len().min(BLOCK);
        rest[..len].copy_from_slice(&quants[..len]);
        if let Some(place) = sums.next() {
            *place = sum;
        }
    }
    rest[tail.len()..].fill(0);
    for place in sums {
        *place = 0;
    }
    peak / QUANT_MAX
}
