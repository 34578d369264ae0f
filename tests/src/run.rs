//! Feeding tokens to a session, and text to a tokenizer.

use kinglet::kernels::Kernels;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Session};
use kinglet::tokenizer::{DecodeOptions, Decoder, EncodeOptions, TokenId, Tokenizer};
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
    // Whatever the memory held before must not matter: these bytes are no numbers.
    let mut arena = vec![0xff; plan.arena_bytes()];
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

/// The logits after `prompt`, as bits, and the ids that follow when the largest logit is always taken (the first of
/// equals): `n` of them, or up to the first for which `stop` holds, which is not among them.
///
/// # Panics
/// If the session refuses.
#[must_use]
pub fn greedy(
    model: &Model<'_>,
    options: Options,
    kernels: &'static Kernels,
    workers: &dyn Workers,
    prompt: &[TokenId],
    n: usize,
    stop: impl Fn(TokenId) -> bool,
) -> (Vec<u32>, Vec<TokenId>) {
    let plan = Plan::new(model.spec(), options).expect("a plan");
    let mut arena = vec![0xff; plan.arena_bytes()];
    let mut session = Session::new(model, &plan, &mut arena, kernels, workers).expect("a session");
    let mut logits = session.prefill(prompt).expect("logits");
    let first = logits.iter().map(|x| x.to_bits()).collect();
    let mut ids = Vec::new();
    while ids.len() < n {
        let (best, _) = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best });
        let id = TokenId(best as u32);
        if stop(id) {
            break;
        }
        ids.push(id);
        if ids.len() < n {
            logits = session.prefill(&[id]).expect("logits");
        }
    }
    (first, ids)
}

/// Text to ids.
///
/// # Panics
/// If the tokenizer refuses.
#[must_use]
pub fn encode(tokenizer: &Tokenizer<'_>, text: &str, options: &EncodeOptions<'_>) -> Vec<TokenId> {
    let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
    let mut ids = vec![TokenId(0); tokenizer.max_tokens(text.len())];
    let n = tokenizer.encode(text, options, &mut scratch, &mut ids).expect("ids");
    ids.truncate(n);
    ids
}

/// Ids that continue a text to text, control tokens spelled out.
///
/// # Panics
/// If the decoder refuses.
#[must_use]
pub fn decode(tokenizer: &Tokenizer<'_>, ids: &[TokenId]) -> String {
    let mut decoder = Decoder::new(tokenizer, DecodeOptions { skip_special: false, continues: true });
    let mut buffer = vec![0; decoder.buffer_bytes()];
    let mut text = String::new();
    for &id in ids {
        text += decoder.push(id, &mut buffer).expect("text");
    }
    text + decoder.finish(&mut buffer).expect("text")
}
