//! Perplexity, and how far one model's predictions are from another's. All in f64.

/// Natural logarithms of the probabilities that logits stand for.
#[must_use]
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let log_sum = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln();
    logits.iter().map(|&x| (f64::from(x) - max) - log_sum).collect()
}

/// Count, mean and spread of a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    n: u64,
    sum: f64,
    sum_squares: f64,
}

impl Mean {
    /// Adds a value.
    pub(crate) fn add(&mut self, x: f64) {
        self.n += 1;
        self.sum += x;
        self.sum_squares += x * x;
    }

    /// Values added.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.n
    }

    /// The mean; not a number where there is no value.
    #[must_use]
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    /// Mean of the squares.
    #[must_use]
    pub(crate) fn mean_square(&self) -> f64 {
        self.sum_squares / self.n as f64
    }

    /// The standard error of the mean; 0 for fewer than two values.
    #[must_use]
    pub(crate) fn error(&self) -> f64 {
        if self.n < 2 {
            return 0.0;
        }
        ((self.mean_square() - self.mean() * self.mean()).max(0.0) / (self.n - 1) as f64).sqrt()
    }

    /// The standard deviation of the values, of a sample; 0 for fewer than two values.
    #[must_use]
    pub(crate) fn deviation(&self) -> f64 {
        self.error() * (self.n as f64).sqrt()
    }
}

/// A model's surprise at the text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Surprise(Mean);

impl Surprise {
    /// Adds a token that the model gave this log-probability.
    pub(crate) fn add(&mut self, log_probability: f64) {
        self.0.add(-log_probability);
    }

    /// Tokens scored.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.0.count()
    }

    /// `exp` of the mean surprise.
    #[must_use]
    pub(crate) fn perplexity(&self) -> f64 {
        self.0.mean().exp()
    }

    /// Its standard error.
    #[must_use]
    pub(crate) fn error(&self) -> f64 {
        self.0.error() * self.perplexity()
    }
}

/// A model against its reference, token after token of the same text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    divergences: Vec<f64>,
    divergence: Mean,
    log_ratio: Mean,
    probability_difference: Mean,
    squared_difference: Mean,
    same_top: Mean,
}

impl Comparison {
    /// Adds a position: both models' log-probabilities, and the token that really came.
    pub(crate) fn add(&mut self, reference: &[f64], model: &[f64], token: usize) {
        let kl: f64 = reference.iter().zip(model).filter(|(p, _)| **p > f64::NEG_INFINITY).map(|(p, q)| p.exp() * (p - q)).sum();
        // Equal distributions may come out a rounding error below zero.
        let kl = if kl < 0.0 { 0.0 } else { kl };
        self.divergences.push(kl);
        self.divergence.add(kl);
        self.log_ratio.add(reference[token] - model[token]);
        let difference = model[token].exp() - reference[token].exp();
        self.probability_difference.add(difference);
        self.squared_difference.add(difference * difference);
        self.same_top.add(f64::from(u8::from(top(reference) == top(model))));
    }

    /// Mean of KL(reference ‖ model) and its standard error, in nats.
    #[must_use]
    pub(crate) fn divergence(&self) -> (f64, f64) {
        (self.divergence.mean(), self.divergence.error())
    }

    /// The divergences at these shares, sorted: 0.5 is the median, 1 the maximum. Interpolated between neighbours.
    #[must_use]
    pub(crate) fn percentiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut sorted = self.divergences.clone();
        sorted.sort_by(f64::total_cmp);
        shares.map(|share| {
            let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
            let at = share * last as f64;
            let (low, high) = (at.floor() as usize, (at.ceil() as usize).min(last));
            sorted[low] + (sorted[high] - sorted[low]) * (at - at.floor())
        })
    }

    /// Mean of ln(PPL model / PPL reference), and its standard error.
    #[must_use]
    pub(crate) fn log_ratio(&self) -> (f64, f64) {
        (self.log_ratio.mean(), self.log_ratio.error())
    }

    /// Root mean square of the change in the probability of the token that came, and its standard error.
    #[must_use]
    pub(crate) fn probability_rms(&self) -> (f64, f64) {
        let rms = self.squared_difference.mean().sqrt();
        (rms, if rms > 0.0 { 0.5 * self.squared_difference.error() / rms } else { 0.0 })
    }

    /// Mean change in the probability of the token that came, and its standard error.
    #[must_use]
    pub(crate) fn probability_mean(&self) -> (f64, f64) {
        (self.probability_difference.mean(), self.probability_difference.error())
    }

    /// Share of positions where both models' likeliest token is the same, and its standard error.
    #[must_use]
    pub(crate) fn same_top(&self) -> (f64, f64) {
        (self.same_top.mean(), self.same_top.error())
    }
}

/// The place of the largest value, the first one of equals.
fn top(values: &[f64]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, v)| if *v > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_softmax_of_extremes() {
        let logs = log_softmax(&[3.0e38, -3.0e38, 3.0e38]);
        assert!((logs[0] - 0.5f64.ln()).abs() < 1e-12 && logs[1] < -1e38);
        let logs = log_softmax(&[0.0, 3f32.ln()]);
        assert!((logs[0].exp() - 0.25).abs() < 1e-7 && (logs[1].exp() - 0.75).abs() < 1e-7);
    }

    #[test]
    fn perplexity_of_a_uniform_guess_is_the_number_of_choices() {
        let mut s = Surprise::default();
        for _ in 0..10 {
            s.add(-(1024f64.ln()));
        }
        assert!((s.perplexity() - 1024.0).abs() < 1e-9);
        assert!(s.error() < 1e-3);
        assert_eq!(s.count(), 10);
    }

    #[test]
    fn standard_error_and_deviation_of_known_values() {
        let mut m = Mean::default();
        for x in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            m.add(x);
        }
        assert!((m.mean() - 5.0).abs() < 1e-12);
        assert!((m.deviation() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert!((m.error() - (32.0f64 / 7.0 / 8.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let mut c = Comparison::default();
        let p = log_softmax(&[0.1, 2.0, -1.0]);
        c.add(&p, &p, 1);
        assert_eq!(c.divergence(), (0.0, 0.0));
        assert_eq!(c.same_top(), (1.0, 0.0));
        assert_eq!(c.probability_rms(), (0.0, 0.0));
    }

    #[test]
    fn divergence_by_hand() {
        let mut c = Comparison::default();
        let (p, q) = ([0.5f64.ln(), 0.5f64.ln()], [0.25f64.ln(), 0.75f64.ln()]);
        c.add(&p, &q, 0);
        let expected = 0.5 * (2.0f64).ln() + 0.5 * (2.0f64 / 3.0).ln();
        assert!((c.divergence().0 - expected).abs() < 1e-12);
        assert!((c.probability_rms().0 - 0.25).abs() < 1e-12);
        assert!((c.log_ratio().0 - 2f64.ln()).abs() < 1e-12);
        assert_eq!(c.same_top().0, 0.0, "the first of equals is the reference's top");
        c.add(&p, &p, 0);
        let [low, middle, high] = c.percentiles([0.0, 0.5, 1.0]);
        assert!(low == 0.0 && (middle - expected / 2.0).abs() < 1e-12 && (high - expected).abs() < 1e-12);
    }
}
