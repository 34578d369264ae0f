//! How far decoded values are from the originals.

/// Sums over pairs of an original and a decoded value, in f64.
///
/// Floating-point sums depend on their order: whoever splits the work adds each part to its own `ErrorStats` and
/// [merges](ErrorStats::merge) the parts in a fixed order, to get the same figures for any number of threads.
///
/// ```
/// use kinglet_quant::metrics::ErrorStats;
/// let mut stats = ErrorStats::default();
/// stats.add(&[3.0, 4.0], &[3.0, 4.5]);
/// assert_eq!((stats.n, stats.max_abs), (2, 0.5));
/// assert_eq!(stats.snr_db(), 20.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorStats {
    /// Pairs seen.
    pub n: u64,
    /// Sum of the squares of the originals.
    pub signal: f64,
    /// Sum of the squared differences.
    pub noise: f64,
    /// The largest difference in size; NaN once any difference was.
    pub max_abs: f64,
}

impl ErrorStats {
    /// Takes in `original[i]` against `decoded[i]` for every `i`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(&mut self, original: &[f32], decoded: &[f32]) {
        assert_eq!(original.len(), decoded.len(), "originals and decoded values");
        self.n += original.len() as u64;
        for (&x, &y) in original.iter().zip(decoded) {
            let (x, difference) = (f64::from(x), f64::from(x) - f64::from(y));
            self.signal += x * x;
            self.noise += difference * difference;
            if difference.abs() > self.max_abs || difference.is_nan() {
                self.max_abs = difference.abs();
            }
        }
    }

    /// Takes in all that `other` has seen.
    pub fn merge(&mut self, other: &ErrorStats) {
        self.n += other.n;
        self.signal += other.signal;
        self.noise += other.noise;
        if other.max_abs > self.max_abs || other.max_abs.is_nan() {
            self.max_abs = other.max_abs;
        }
    }

    /// The mean squared difference; 0 of nothing.
    #[must_use]
    pub fn mse(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.noise / self.n as f64 }
    }

    /// Signal over noise, in decibels: infinite when nothing differs.
    #[must_use]
    pub fn snr_db(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }
}
