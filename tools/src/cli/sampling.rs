//! The command line's sampling options, at work.

use super::options::SamplingArgs;
use super::out::{Done, Failure, error};
use kinglet::sampler::{Candidate, Sampler, SamplerConfig, StopMatcher};
use kinglet::tokenizer::{TokenId, Tokenizer};

/// The biases that the arguments ask for. Without the model's end tokens, if those are to be ignored.
///
/// # Errors
/// If a token id is not below `vocab`.
pub(crate) fn biases(args: &SamplingArgs, tokenizer: &Tokenizer<'_>, vocab: u32) -> Result<Vec<(TokenId, f32)>, Failure> {
    let mut biases = Vec::new();
    for &(id, bias) in &args.logit_bias {
        if id >= vocab {
            return Err(error(format_args!("--logit-bias: expected a token id below {vocab}, got {id}")));
        }
        biases.push((TokenId(id), bias));
    }
    if args.ignore_eos {
        biases.extend(tokenizer.ends().map(|id| (id, f32::NEG_INFINITY)));
    }
    Ok(biases)
}

/// A sampler with its working memory.
#[derive(Debug)]
pub(crate) struct Chooser<'b> {
    sampler: Sampler<'b>,
    candidates: Vec<Candidate>,
}

impl<'b> Chooser<'b> {
    /// A sampler for logits of `vocab` tokens; recent tokens are at most the `context`'s.
    pub(crate) fn new(args: &SamplingArgs, biases: &'b [(TokenId, f32)], vocab: u32, context: usize, seed: u64) -> Result<Self, Failure> {
        let config = SamplerConfig {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            repeat_penalty: args.repeat_penalty,
            frequency_penalty: args.frequency_penalty,
            presence_penalty: args.presence_penalty,
            repeat_last_n: u32::try_from(args.repeat_last_n).unwrap_or(if args.repeat_last_n < 0 { context as u32 } else { u32::MAX }),
            seed,
        };
        let sampler = Sampler::new(config, biases).map_err(error)?;
        Ok(Self { sampler, candidates: vec![Candidate::default(); vocab as usize] })
    }

    /// The next token after `history`.
    pub(crate) fn choose(&mut self, logits: &mut [f32], history: &[TokenId]) -> Result<TokenId, Failure> {
        self.sampler.sample(logits, history, &mut self.candidates).map_err(error)
    }
}

/// Passes text on until a stop text comes.
#[derive(Debug)]
pub(crate) struct Stops<'s> {
    matcher: StopMatcher<'s>,
    longest: usize,
    out: Vec<u8>,
}

/// The memory that [`Stops`] needs for these stop texts.
pub(crate) fn held(stops: &[&str]) -> Vec<u8> {
    vec![0; stops.iter().map(|stop| stop.len()).max().unwrap_or(0)]
}

impl<'s> Stops<'s> {
    /// A matcher for one text. `held` is the memory of [`held`].
    pub(crate) fn new(stops: &'s [&'s str], held: &'s mut [u8]) -> Result<Self, Failure> {
        let longest = held.len();
        Ok(Self { matcher: StopMatcher::new(stops, held).map_err(error)?, longest, out: Vec::new() })
    }

    /// Adds a piece; `true` if a stop text is complete.
    pub(crate) fn push(&mut self, piece: &str, sink: &mut dyn FnMut(&str) -> Done) -> Result<bool, Failure> {
        self.out.resize(self.out.len().max(self.longest + piece.len()), 0);
        let stopped = self.matcher.push(piece, &mut self.out).map_err(error)?;
        if !stopped.text.is_empty() {
            sink(stopped.text)?;
        }
        Ok(stopped.stop.is_some())
    }

    /// Passes on what was held back as a possible beginning of a stop text.
    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(&str) -> Done) -> Done {
        match self.matcher.finish() {
            "" => Ok(()),
            rest => sink(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_passes_until_a_stop_and_whole_without() {
        let write = |stops: &[&str], pieces: &[&str]| {
            let mut memory = held(stops);
            let mut matcher = Stops::new(stops, &mut memory).unwrap();
            let mut text = String::new();
            let mut sink = |t: &str| {
                text += t;
                Ok(())
            };
            let mut stopped = false;
            for piece in pieces {
                stopped = matcher.push(piece, &mut sink).unwrap();
            }
            matcher.finish(&mut sink).unwrap();
            (text, stopped)
        };
        assert_eq!(write(&["\nUser:"], &["Paris.\nU", "ser: and"]), ("Paris.".into(), true));
        assert_eq!(write(&["\nUser:"], &["Paris.\nU", "tah"]), ("Paris.\nUtah".into(), false));
        assert_eq!(write(&["\nUser:"], &["Paris.\nU"]), ("Paris.\nU".into(), false));
        assert_eq!(write(&[], &["a", "", "b"]), ("ab".into(), false));
    }
}
