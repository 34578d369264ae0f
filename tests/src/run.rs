//! Feeding tokens to a session.

use kinglet::kernels::Kernels;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Session};
use kinglet::tokenizer::TokenId;
use kinglet::workers::Workers;

/// The logits `[tokens][vocab]` of every token, as bits, when the tokens come in pieces of these lengths (the last
/// one repeats).
///
/// # Panics
/// If the session refuses.
#[must_use]
pub fn logits(
    model: &Model<'_>,
    options: Options,
    kernels: &'static Kernels,
    workers: &dyn Workers,
    tokens: &[TokenId],
    pieces: &[usize],
) -> Vec<u32> {
    let plan = Plan::new(model.spec(), options).expect("a plan");
    // Whatever the memory held before must not matter.
    let mut arena = vec![0xa5; plan.arena_bytes()];
    let mut session = Session::new(model, &plan, &mut arena, kernels, workers).expect("a session");
    let (mut bits, mut rest, mut piece) = (Vec::new(), tokens, pieces.iter().copied());
    let mut len = pieces[0];
    while !rest.is_empty() {
        len = piece.next().unwrap_or(len);
        let (now, later) = rest.split_at(len.min(rest.len()));
        session.prefill_each(now, &mut |_, logits| bits.extend(logits.iter().map(|x| x.to_bits()))).expect("logits");
        rest = later;
    }
    bits
}
