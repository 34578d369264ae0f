//! Logits to a token id: biases and penalties, filters, then a choice.
//!
//! The order and the meaning are those of llama.cpp's default chain, so that settings can be carried over:
//!
//! 1. logit biases are added;
//! 2. penalties: tokens of the recent history lose, see [`SamplerConfig`];
//! 3. top-k keeps the `k` highest logits;
//! 4. top-p keeps the fewest highest whose probabilities reach `p`;
//! 5. min-p keeps those at least `p` times as probable as the best;
//! 6. temperature divides the logits, and one of the survivors is drawn by its probability. At temperature 0 the highest is taken instead.
//!
//! The same logits, history and seed give the same token on every machine: exponentials are [`math::exp`](crate::math::exp), sums
//! are taken in one written order in `f64`, and the generator is our own ([`Pcg32`]). Equal logits are ordered by rising id. A NaN
//! counts as minus infinity; if nothing is above minus infinity, the choice is token 0. `docs/sampling.md` specifies all of it.
//!
//! ```
//! use kinglet::sampler::{Candidate, Sampler, SamplerConfig};
//! use kinglet::tokenizer::TokenId;
//!
//! let mut sampler = Sampler::new(SamplerConfig { temperature: 0.0, ..SamplerConfig::default() }, &[]).unwrap();
//! let mut logits = [0.5, 2.0, -1.0];
//! let mut candidates = [Candidate::default(); 3];
//! assert_eq!(sampler.sample(&mut logits, &[], &mut candidates), Ok(TokenId(1)));
//! ```

mod random;
mod stop;

use core::cmp::Ordering;

pub use random::Pcg32;
pub use stop::{StopMatcher, Stopped};

use crate::math::exp;
use crate::tokenizer::{TokenId, TooSmall};

/// How a token is chosen. The default has llama.cpp's values and no penalties.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerConfig {
    /// Above 1 flattens the distribution, below 1 sharpens it; 0 takes the most probable token always.
    pub temperature: f32,
    /// How many of the highest logits are kept; 0 keeps all.
    pub top_k: u32,
    /// The probability that the kept tokens reach together; 1 keeps all.
    pub top_p: f32,
    /// The least probability kept, as a part of the highest; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive and multiplies the other logits of recent tokens; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Taken off a recent token's logit for each time it occurs.
    pub frequency_penalty: f32,
    /// Taken off a recent token's logit once.
    pub presence_penalty: f32,
    /// How many of the last tokens are recent.
    pub repeat_last_n: u32,
    /// Where the generator starts.
    pub seed: u64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_last_n: 64,
            seed: 0,
        }
    }
}

/// A setting that has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SamplerError {
    /// Not a finite number of at least 0.
    Temperature,
    /// Not in 0..=1.
    TopP,
    /// Not in 0..=1.
    MinP,
    /// Not a finite number above 0.
    RepeatPenalty,
    /// Not a finite number.
    FrequencyPenalty,
    /// Not a finite number.
    PresencePenalty,
    /// A NaN, or plus infinity, at this position.
    Bias {
        /// The position in the list.
        position: usize,
    },
}

impl core::fmt::Display for SamplerError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Temperature => write!(f, "temperature must be a finite number of at least 0"),
            Self::TopP => write!(f, "top-p must be between 0 and 1"),
            Self::MinP => write!(f, "min-p must be between 0 and 1"),
            Self::RepeatPenalty => write!(f, "the repetition penalty must be a finite number above 0"),
            Self::FrequencyPenalty => write!(f, "the frequency penalty must be a finite number"),
            Self::PresencePenalty => write!(f, "the presence penalty must be a finite number"),
            Self::Bias { position } => write!(f, "logit bias {position} must be a number, or minus infinity to forbid the token"),
        }
    }
}

impl core::error::Error for SamplerError {}

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: TokenId,
    /// Its logit, after biases and penalties.
    pub logit: f32,
}

impl Candidate {
    /// Higher logits first, then lower ids. Logits are not NaN here, so the order is total.
    fn before(&self, other: &Self) -> Ordering {
        other.logit.partial_cmp(&self.logit).unwrap_or(Ordering::Equal).then(self.id.cmp(&other.id))
    }
}

/// Settings and the generator's state.
#[derive(Clone, Debug)]
pub struct Sampler<'b> {
    config: SamplerConfig,
    bias: &'b [(TokenId, f32)],
    random: Pcg32,
}

impl<'b> Sampler<'b> {
    /// Checks the settings. `bias` is added to the logits of its tokens; minus infinity forbids one; ids beyond the vocabulary are ignored.
    ///
    /// # Errors
    /// [`SamplerError`] for the first setting out of range.
    pub fn new(config: SamplerConfig, bias: &'b [(TokenId, f32)]) -> Result<Self, SamplerError> {
        let part = 0.0..=1.0;
        let checks = [
            (config.temperature.is_finite() && config.temperature >= 0.0, SamplerError::Temperature),
            (part.contains(&config.top_p), SamplerError::TopP),
            (part.contains(&config.min_p), SamplerError::MinP),
            (config.repeat_penalty.is_finite() && config.repeat_penalty > 0.0, SamplerError::RepeatPenalty),
            (config.frequency_penalty.is_finite(), SamplerError::FrequencyPenalty),
            (config.presence_penalty.is_finite(), SamplerError::PresencePenalty),
        ];
        if let Some((_, error)) = checks.into_iter().find(|(good, _)| !good) {
            return Err(error);
        }
        if let Some(position) = bias.iter().position(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            return Err(SamplerError::Bias { position });
        }
        Ok(Self { config, bias, random: Pcg32::new(config.seed) })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &SamplerConfig {
        &self.config
    }

    /// The generator, where it stands.
    #[must_use]
    pub fn random(&self) -> &Pcg32 {
        &self.random
    }

    /// Goes on with another generator: that of a saved conversation, or a new one from the start.
    pub fn set_random(&mut self, random: Pcg32) {
        self.random = random;
    }

    /// Chooses a token. `logits` (one per token of the vocabulary) are changed by biases and penalties; `history` is all tokens so
    /// far, the last one last; `candidates` is working memory of at least `logits.len()`.
    ///
    /// # Errors
    /// [`TooSmall`] if `candidates` is shorter than `logits`.
    pub fn sample(&mut self, logits: &mut [f32], history: &[TokenId], candidates: &mut [Candidate]) -> Result<TokenId, TooSmall> {
        let got = candidates.len();
        let candidates = candidates.get_mut(..logits.len()).ok_or(TooSmall { needed: logits.len(), got })?;
        for logit in logits.iter_mut() {
            *logit = orderly(*logit);
        }
        self.add_bias(logits);
        self.penalize(logits, history, candidates);

        if self.config.temperature == 0.0 {
            return Ok(greedy(logits));
        }

        let mut count = 0;
        for (id, &logit) in logits.iter().enumerate() {
            if logit > f32::NEG_INFINITY {
                candidates[count] = Candidate { id: TokenId(id as u32), logit };
                count += 1;
            }
        }
        let kept = self.top_k(&mut candidates[..count]);
        let kept = self.top_p(&mut candidates[..kept]);
        let kept = self.min_p(&mut candidates[..kept]);
        Ok(self.draw(&candidates[..kept]))
    }

    fn add_bias(&self, logits: &mut [f32]) {
        for &(id, bias) in self.bias {
            if let Some(logit) = logits.get_mut(id.0 as usize) {
                *logit = (*logit + bias).min(f32::MAX);
            }
        }
    }

    /// The candidates' memory counts the tokens first: its logit is the number of times that its index occurs.
    fn penalize(&self, logits: &mut [f32], history: &[TokenId], counts: &mut [Candidate]) {
        let SamplerConfig { repeat_penalty, frequency_penalty, presence_penalty, repeat_last_n, .. } = self.config;
        let neutral = repeat_penalty == 1.0 && frequency_penalty == 0.0 && presence_penalty == 0.0;
        let recent = &history[history.len().saturating_sub(repeat_last_n as usize)..];
        if neutral || recent.is_empty() {
            return;
        }
        for id in recent {
            if let Some(count) = counts.get_mut(id.0 as usize) {
                count.logit = 0.0;
            }
        }
        for id in recent {
            if let Some(count) = counts.get_mut(id.0 as usize) {
                count.logit += 1.0;
            }
        }
        for id in recent {
            let (Some(count), Some(logit)) = (counts.get_mut(id.0 as usize), logits.get_mut(id.0 as usize)) else { continue };
            let times = core::mem::take(&mut count.logit);
            if times == 0.0 || *logit == f32::NEG_INFINITY {
                continue;
            }
            let scaled = if *logit <= 0.0 { *logit * repeat_penalty } else { *logit / repeat_penalty };
            // The sum is finite unless the settings overflow it; then the nearest end of the range stands.
            let penalized = scaled - times * frequency_penalty - presence_penalty;
            *logit = if penalized.is_nan() { f32::NEG_INFINITY } else { penalized.min(f32::MAX) };
        }
    }

    /// Returns how many are kept; they come first, in order.
    fn top_k(&self, candidates: &mut [Candidate]) -> usize {
        let kept = match self.config.top_k {
            0 => return candidates.len(),
            k => candidates.len().min(k as usize),
        };
        sort_first(candidates, kept);
        kept
    }

    /// Returns how many are kept. Only as many as are needed are sorted: eight times as many as before until they suffice.
    fn top_p(&self, candidates: &mut [Candidate]) -> usize {
        if self.config.top_p >= 1.0 || candidates.len() < 2 {
            return candidates.len();
        }
        let best = highest(candidates);
        let total: f64 = candidates.iter().map(|candidate| f64::from(exp(candidate.logit - best))).sum();
        let target = f64::from(self.config.top_p) * total;
        let (mut sorted, mut reached) = (0, 0.0);
        while sorted < candidates.len() {
            let more = (candidates.len() - sorted).min((sorted * 7).max(64));
            sort_first(&mut candidates[sorted..], more);
            for candidate in &candidates[sorted..sorted + more] {
                sorted += 1;
                reached += f64::from(exp(candidate.logit - best));
                if reached >= target {
                    return sorted;
                }
            }
        }
        candidates.len()
    }

    /// Returns how many are kept; they come first, in the order they had.
    fn min_p(&self, candidates: &mut [Candidate]) -> usize {
        if self.config.min_p <= 0.0 {
            return candidates.len();
        }
        let best = highest(candidates);
        let mut kept = 0;
        for at in 0..candidates.len() {
            if exp(candidates[at].logit - best) >= self.config.min_p {
                candidates[kept] = candidates[at];
                kept += 1;
            }
        }
        kept
    }

    fn draw(&mut self, candidates: &[Candidate]) -> TokenId {
        let temperature = self.config.temperature;
        let best = highest(candidates);
        let weight = |candidate: &Candidate| f64::from(exp((candidate.logit - best) / temperature));
        let total: f64 = candidates.iter().map(weight).sum();
        let target = self.random.unit() * total;
        let mut reached = 0.0;
        let mut chosen = TokenId(0);
        for candidate in candidates {
            let weight = weight(candidate);
            if weight > 0.0 {
                reached += weight;
                chosen = candidate.id;
                if reached > target {
                    break;
                }
            }
        }
        chosen
    }
}

/// The most probable token: what [`Sampler::sample`] takes at temperature 0 without biases and penalties, and without any memory.
#[must_use]
pub fn greedy(logits: &[f32]) -> TokenId {
    let mut best = Candidate { id: TokenId(0), logit: f32::NEG_INFINITY };
    for (id, logit) in logits.iter().map(|logit| orderly(*logit)).enumerate() {
        if logit > best.logit {
            best = Candidate { id: TokenId(id as u32), logit };
        }
    }
    best.id
}

/// A NaN counts as minus infinity; plus infinity would make every difference to it NaN.
fn orderly(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) }
}

fn highest(candidates: &[Candidate]) -> f32 {
    candidates.iter().fold(f32::NEG_INFINITY, |best, candidate| if candidate.logit > best { candidate.logit } else { best })
}

/// Puts the first `count` in order at the front, without sorting the others.
///
/// Those are a heap with its last at the root, against which each of the others is held once: of few kept of many, seldom
/// one is better. Then that is several times as fast as a partition, and a tenth of its code.
fn sort_first(candidates: &mut [Candidate], count: usize) {
    /// More are partitioned and sorted by the standard library, which machines without a system have no room for.
    const FEW: usize = 1024;
    if cfg!(feature = "std") && count > FEW {
        if count < candidates.len() {
            candidates.select_nth_unstable_by(count - 1, Candidate::before);
        }
        return candidates[..count].sort_unstable_by(Candidate::before);
    }
    let (kept, others) = candidates.split_at_mut(count);
    for root in (0..count / 2).rev() {
        sift_down(kept, root);
    }
    let Some(mut last) = kept.first().copied() else { return };
    for other in others {
        if other.before(&last) == Ordering::Less {
            core::mem::swap(&mut kept[0], other);
            sift_down(kept, 0);
            last = kept[0];
        }
    }
    for end in (1..count).rev() {
        kept.swap(0, end);
        sift_down(&mut kept[..end], 0);
    }
}

/// Mends a heap whose `root` may come before one of its children.
fn sift_down(heap: &mut [Candidate], mut root: usize) {
    while let Some(left) = heap.get(2 * root + 1) {
        let right = heap.get(2 * root + 2).filter(|right| left.before(right) == Ordering::Less);
        let (child, later) = right.map_or((2 * root + 1, left), |right| (2 * root + 2, right));
        if heap[root].before(later) != Ordering::Less {
            return;
        }
        heap.swap(root, child);
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use core::f32::consts::LN_2;

    use super::*;

    const PLAIN: SamplerConfig = SamplerConfig {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        frequency_penalty: 0.0,
        presence_penalty: 0.0,
        repeat_last_n: 64,
        seed: 1,
    };

    fn draws<const N: usize>(config: SamplerConfig, logits: [f32; N], history: &[u32], count: usize) -> [usize; N] {
        let mut sampler = Sampler::new(config, &[]).unwrap();
        let history: [TokenId; 16] = core::array::from_fn(|at| TokenId(history.get(at).copied().unwrap_or(u32::MAX)));
        let mut seen = [0; N];
        for _ in 0..count {
            let mut candidates = [Candidate { id: TokenId(9), logit: f32::NAN }; N];
            let id = sampler.sample(&mut logits.clone(), &history, &mut candidates).unwrap();
            seen[id.0 as usize] += 1;
        }
        seen
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        let greedy = SamplerConfig { temperature: 0.0, ..PLAIN };
        assert_eq!(draws(greedy, [0.0, 3.0, 3.0, f32::NAN], &[], 1), [0, 1, 0, 0]);
        assert_eq!(draws(greedy, [f32::NAN, -5.0, f32::NEG_INFINITY], &[], 1), [0, 1, 0]);
        assert_eq!(draws(greedy, [f32::NAN, f32::NEG_INFINITY], &[], 1), [1, 0]);
        assert_eq!(draws(greedy, [0.0, f32::INFINITY, f32::MAX], &[], 1), [0, 1, 0]);
    }

    #[test]
    fn nothing_left_is_token_zero() {
        for config in [PLAIN, SamplerConfig::default()] {
            assert_eq!(draws(config, [f32::NEG_INFINITY, f32::NAN], &[], 3), [3, 0]);
        }
        let mut sampler = Sampler::new(PLAIN, &[]).unwrap();
        assert_eq!(sampler.sample(&mut [], &[], &mut []), Ok(TokenId(0)));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        // Weights 1 : 2 : 4.
        let seen = draws(PLAIN, [0.0, LN_2, 2.0 * LN_2], &[], 70_000);
        for (seen, expected) in seen.into_iter().zip([10_000_usize, 20_000, 40_000]) {
            assert!(seen.abs_diff(expected) < 500, "{seen}, not {expected}");
        }
        // At temperature 2 the weights are their square roots.
        let seen = draws(SamplerConfig { temperature: 2.0, ..PLAIN }, [0.0, 4.0 * LN_2], &[], 50_000);
        assert!(seen[1].abs_diff(40_000) < 500, "{seen:?}");
    }

    #[test]
    fn top_k_keeps_the_highest_and_of_equals_the_first() {
        let config = SamplerConfig { top_k: 2, ..PLAIN };
        let seen = draws(config, [1.0, 2.0, 2.0, 2.0, 0.0], &[], 1000);
        assert!(seen[1] > 300 && seen[2] > 300 && seen[1] + seen[2] == 1000, "{seen:?}");
    }

    #[test]
    fn top_p_keeps_the_fewest_that_suffice() {
        // Probabilities 4/7, 2/7, 1/7.
        let logits = [0.0, 2.0 * LN_2, LN_2];
        let with = |top_p| draws(SamplerConfig { top_p, ..PLAIN }, logits, &[], 2000).map(|seen| seen > 0);
        assert_eq!(with(0.0), [false, true, false]);
        assert_eq!(with(0.55), [false, true, false]);
        assert_eq!(with(0.6), [false, true, true]);
        assert_eq!(with(0.9), [true, true, true]);
    }

    #[test]
    fn top_p_looks_far_when_it_must() {
        // 500 equal logits: a little over half of them reach 0.5, and the lowest ids are taken first.
        let mut logits = [0.0; 500];
        let mut candidates = [Candidate::default(); 500];
        let mut sampler = Sampler::new(SamplerConfig { top_p: 0.5, ..PLAIN }, &[]).unwrap();
        let highest = (0..2000).map(|_| sampler.sample(&mut logits, &[], &mut candidates).unwrap().0).max();
        assert_eq!(highest, Some(249));
    }

    #[test]
    fn min_p_is_relative_to_the_best() {
        let logits = [0.0, 2.0 * LN_2, LN_2];
        let with = |min_p| draws(SamplerConfig { min_p, ..PLAIN }, logits, &[], 2000).map(|seen| seen > 0);
        assert_eq!(with(0.2), [true, true, true]);
        assert_eq!(with(0.3), [false, true, true]);
        assert_eq!(with(1.0), [false, true, false]);
    }

    #[test]
    fn penalties_change_recent_tokens_only() {
        let config = SamplerConfig { repeat_penalty: 2.0, frequency_penalty: 0.25, presence_penalty: 0.5, repeat_last_n: 3, ..PLAIN };
        let mut sampler = Sampler::new(config, &[]).unwrap();
        let mut logits = [4.0, 4.0, -4.0, 4.0, f32::NEG_INFINITY];
        let mut candidates = [Candidate { id: TokenId(0), logit: 7.0 }; 5];
        // Token 3 is too old; 99 is not in the vocabulary.
        let history = [3, 99, 1, 1, 2].map(TokenId);
        sampler.sample(&mut logits, &history, &mut candidates).unwrap();
        assert_eq!(logits, [4.0, 4.0 / 2.0 - 2.0 * 0.25 - 0.5, -4.0 * 2.0 - 0.25 - 0.5, 4.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn biases_come_before_penalties() {
        let bias = [(TokenId(0), 3.0), (TokenId(1), f32::NEG_INFINITY), (TokenId(77), 1.0)];
        let config = SamplerConfig { repeat_penalty: 2.0, temperature: 0.0, ..PLAIN };
        let mut sampler = Sampler::new(config, &bias).unwrap();
        let mut logits = [-1.0, 9.0, 0.5];
        let chosen = sampler.sample(&mut logits, &[TokenId(0)], &mut [Candidate::default(); 3]);
        assert_eq!(logits, [1.0, f32::NEG_INFINITY, 0.5]);
        assert_eq!(chosen, Ok(TokenId(0)));
    }

    #[test]
    fn extreme_settings_and_logits_choose_something() {
        let extremes = [f32::MIN, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0, -0.0, 1e-45];
        for temperature in [0.0, 1e-45, 1.0, f32::MAX] {
            for penalty in [1e-45, 1.0, f32::MAX] {
                for amount in [f32::MIN, 0.0, f32::MAX] {
                    let config = SamplerConfig {
                        temperature,
                        repeat_penalty: penalty,
                        frequency_penalty: amount,
                        presence_penalty: -amount,
                        ..SamplerConfig::default()
                    };
                    let seen = draws(config, extremes, &[0, 1, 2, 3, 4, 5, 6, 7, 7], 5);
                    assert_eq!(seen.iter().sum::<usize>(), 5);
                    assert_eq!(seen[3] + seen[4], 0, "a forbidden token: {seen:?} for {config:?}");
                }
            }
        }
    }

    #[test]
    fn the_first_are_sorted_whatever_the_order() {
        let mut random = Pcg32::new(3);
        for n in [0, 1, 2, 3, 7, 64, 65, 300, 3000] {
            // Few values, so that many are equal; rising and falling ones, too.
            let orders: [&mut dyn FnMut(usize) -> f32; 4] =
                [&mut |_| (random.next_u32() % 9) as f32, &mut |i| i as f32, &mut |i| -(i as f32), &mut |_| 1.0];
            for order in orders {
                let candidates: Vec<_> = (0..n).map(|i| Candidate { id: TokenId(i as u32), logit: order(i) }).collect();
                let mut sorted = candidates.clone();
                sorted.sort_by(Candidate::before);
                for count in (0..=n.min(300)).chain([n * 2 / 3, n]) {
                    let mut first = candidates.clone();
                    sort_first(&mut first, count);
                    assert_eq!(first[..count], sorted[..count], "{count} of {n}");
                    first.sort_by(Candidate::before);
                    assert_eq!(first, sorted, "{count} of {n}: one is lost");
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let mut sampler = Sampler::new(SamplerConfig { temperature: 1.5, seed: 42, ..SamplerConfig::default() }, &[]).unwrap();
        let mut candidates = [Candidate::default(); 64];
        let ids: [u32; 12] = core::array::from_fn(|step| {
            let mut logits: [f32; 64] = core::array::from_fn(|id| ((id * 37 + step * 11) % 64) as f32 * 0.0625);
            sampler.sample(&mut logits, &[], &mut candidates).unwrap().0
        });
        assert_eq!(ids, GOLDEN);
    }

    /// What every machine must choose in the test above.
    const GOLDEN: [u32; 12] = [48, 58, 30, 47, 5, 33, 13, 3, 56, 14, 52, 45];

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |config| Sampler::new(config, &[]).unwrap_err();
        assert_eq!(wrong(SamplerConfig { temperature: -1.0, ..PLAIN }), SamplerError::Temperature);
        assert_eq!(wrong(SamplerConfig { temperature: f32::NAN, ..PLAIN }), SamplerError::Temperature);
        assert_eq!(wrong(SamplerConfig { top_p: 1.5, ..PLAIN }), SamplerError::TopP);
        assert_eq!(wrong(SamplerConfig { min_p: f32::NAN, ..PLAIN }), SamplerError::MinP);
        assert_eq!(wrong(SamplerConfig { repeat_penalty: 0.0, ..PLAIN }), SamplerError::RepeatPenalty);
        assert_eq!(wrong(SamplerConfig { frequency_penalty: f32::INFINITY, ..PLAIN }), SamplerError::FrequencyPenalty);
        assert_eq!(wrong(SamplerConfig { presence_penalty: f32::NAN, ..PLAIN }), SamplerError::PresencePenalty);
        let bias = [(TokenId(0), 0.0), (TokenId(0), f32::NAN)];
        assert_eq!(Sampler::new(PLAIN, &bias).unwrap_err(), SamplerError::Bias { position: 1 });
    }

    #[test]
    fn too_few_candidates_are_an_error() {
        let mut sampler = Sampler::new(PLAIN, &[]).unwrap();
        let result = sampler.sample(&mut [0.0; 3], &[], &mut [Candidate::default(); 2]);
        assert_eq!(result, Err(TooSmall { needed: 3, got: 2 }));
    }
}
