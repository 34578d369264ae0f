//! From a prompt to a stream of text: what `run`, `chat` and `demo` share.

use super::memory;
use super::out::{Done, Failure, Progress, error, interrupt, note};
use super::sampling::{Chooser, Stops};
use super::text::{duration, rate, size, thousands};
use kinglet::session::{Session, SessionError};
use kinglet::tokenizer::{DecodeOptions, Decoder, TokenId, Tokenizer};
use std::time::Instant;

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As many tokens as were asked for.
    Limit,
    /// The model's own end token.
    Token,
    /// A stop text.
    Stop,
    /// Ctrl-C.
    Interrupt,
    /// No room for another token, and no leave to make some.
    ContextFull,
}

/// How long a text may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens to generate, at most.
    pub(crate) tokens: Option<usize>,
    /// Tokens at the start that stay when the context is full; `None`: end there.
    pub(crate) keep: Option<usize>,
}

/// What happened, for the statistics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Story {
    pub(crate) end: End,
    prompt_tokens: usize,
    prompt_seconds: f64,
    generated: usize,
    seconds: f64,
    shifts: usize,
}

/// A session and the tokens that went into it.
pub(crate) struct Writer<'s, 'a, 'm> {
    session: &'s mut Session<'a, 'm>,
    tokenizer: &'s Tokenizer<'m>,
    /// Every token so far; the session has evaluated a prefix of it.
    history: Vec<TokenId>,
    /// Tokens between looks at the clock and at Ctrl-C in a long prompt.
    batch: usize,
}

impl<'s, 'a, 'm> Writer<'s, 'a, 'm> {
    /// A writer that has written nothing. `batch` is that of the session.
    pub(crate) fn new(session: &'s mut Session<'a, 'm>, tokenizer: &'s Tokenizer<'m>, batch: usize) -> Self {
        Self { session, tokenizer, history: Vec::new(), batch }
    }

    /// Tokens so far, those of the answers included.
    pub(crate) fn tokens(&self) -> &[TokenId] {
        &self.history
    }

    /// Makes `tokens` what came so far. What they have in common with what really came is not evaluated again.
    pub(crate) fn rebase(&mut self, tokens: Vec<TokenId>) -> Done {
        let common = self.history.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        // The last token's logits are what comes next, and they are not kept: it is evaluated again.
        let common = common.min(tokens.len().saturating_sub(1));
        self.history = tokens;
        if self.session.position() > common {
            match self.session.truncate(common) {
                // A sliding window has overwritten what stands there.
                Err(SessionError::Truncate { .. }) => self.session.truncate(0).map_err(error)?,
                other => other.map_err(error)?,
            }
        }
        Ok(())
    }

    /// Adds `prompt`, then generates; `sink` gets each piece of text as soon as it is known to be part of it.
    ///
    /// With `limits.keep`, when the context is full the first `keep` tokens and the newer half of the others stay;
    /// they are evaluated again, so that what follows is exactly what a fresh session would say.
    pub(crate) fn write(
        &mut self,
        prompt: &[TokenId],
        limits: Limits,
        chooser: &mut Chooser<'_>,
        stops: &mut Stops<'_>,
        sink: &mut dyn FnMut(&str) -> Done,
    ) -> Result<Story, Failure> {
        let start = Instant::now();
        self.history.extend_from_slice(prompt);
        let mut story = Story { end: End::Limit, prompt_tokens: 0, prompt_seconds: 0.0, generated: 0, seconds: 0.0, shifts: 0 };
        story.prompt_tokens = self.history.len() - self.session.position();
        let mut decoder = Decoder::new(self.tokenizer, DecodeOptions { skip_special: true, continues: true });
        let mut buffer = vec![0; decoder.buffer_bytes()];
        let mut first = None;
        loop {
            if limits.tokens.is_some_and(|n| story.generated >= n) {
                break;
            }
            if self.history.len() > self.session.context() {
                match limits.keep {
                    Some(keep) if self.shift(keep)? => story.shifts += 1,
                    _ => {
                        story.end = End::ContextFull;
                        break;
                    }
                }
            }
            self.catch_up()?;
            if interrupt::asked() {
                story.end = End::Interrupt;
                break;
            }
            let logits = self.session.prefill(&self.history[self.session.position()..]).map_err(error)?;
            let now = Instant::now();
            if first.is_none() {
                first = Some(now);
                story.prompt_seconds = (now - start).as_secs_f64();
            }
            let token = chooser.choose(logits, &self.history)?;
            story.generated += 1;
            self.history.push(token);
            if self.tokenizer.is_end(token) {
                story.end = End::Token;
                break;
            }
            let piece = decoder.push(token, &mut buffer).map_err(error)?;
            if stops.push(piece, sink)? {
                story.end = End::Stop;
                break;
            }
        }
        if story.end != End::Stop && !stops.push(decoder.finish(&mut buffer).map_err(error)?, sink)? {
            stops.finish(sink)?;
        }
        story.seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        Ok(story)
    }

    /// Evaluates all but the last batch of what is not evaluated yet, unless Ctrl-C is pressed.
    fn catch_up(&mut self) -> Done {
        let pending = self.history.len() - self.session.position();
        if pending <= self.batch {
            return Ok(());
        }
        let mut progress = Progress::new(pending as u64, "prompt");
        while self.history.len() - self.session.position() > self.batch && !interrupt::asked() {
            let from = self.session.position();
            self.session.prefill(&self.history[from..from + self.batch]).map_err(error)?;
            progress.advance(self.batch as u64, "tokens");
        }
        Ok(())
    }

    /// Drops the older half of what follows the first `keep` tokens; `false` if that makes no room.
    fn shift(&mut self, keep: usize) -> Result<bool, Failure> {
        let keep = keep.min(self.history.len());
        let drop = (self.history.len() - keep) / 2;
        if drop == 0 || self.history.len() - drop > self.session.context() {
            return Ok(false);
        }
        self.rebase([&self.history[..keep], &self.history[keep + drop..]].concat())?;
        Ok(true)
    }
}

impl Story {
    /// Speed of generation: tokens after the first, which the prompt's logits give.
    pub(crate) fn speed(&self) -> f64 {
        rate(self.generated.saturating_sub(1), self.seconds)
    }

    /// Seconds to the first token.
    pub(crate) fn first_seconds(&self) -> f64 {
        self.prompt_seconds
    }

    /// Seconds that generation took, after the first token.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Tokens generated.
    pub(crate) fn generated(&self) -> usize {
        self.generated
    }

    /// Lines for stderr.
    pub(crate) fn note(&self) {
        let prompt = rate(self.prompt_tokens, self.prompt_seconds);
        note!("prompt   {} tokens in {}, {prompt:.1} tokens/s", thousands(self.prompt_tokens as u64), duration(self.prompt_seconds));
        let (n, seconds) = (thousands(self.generated as u64), duration(self.seconds));
        note!("output   {n} tokens in {seconds}, {:.1} tokens/s", self.speed());
        if self.shifts > 0 {
            note!("context  shifted {} times", thousands(self.shifts as u64));
        }
        note_memory();
    }
}

/// The exact bytes that were promised and used, on stderr.
pub(crate) fn note_bytes(file: usize, arena: usize) {
    note!("file bytes {file}\narena bytes {arena}");
    if let Some(peak) = memory::peak_rss() {
        note!("peak bytes {peak}");
    }
}

/// Peak memory on stderr.
pub(crate) fn note_memory() {
    if let Some(peak) = memory::peak_rss() {
        let own = memory::anonymous_rss().map_or_else(String::new, |own| format!(", {} of it not the file's", size(own)));
        note!("memory   peak {}{own}", size(peak));
    }
}
