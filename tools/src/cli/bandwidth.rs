//! How fast this machine reads memory: what decoding is measured against.

use crate::cli::memory;
use std::hint::black_box;
use std::time::Instant;

/// Less would be served by the caches of large machines.
const BUFFER_BYTES: usize = 256 << 20;
const PASSES: usize = 7;

/// Words that several threads read over and over.
#[derive(Debug)]
pub(crate) struct Probe(Vec<u64>);

impl Probe {
    /// A buffer of 256 MiB, or a quarter of the free memory where that is less.
    #[must_use]
    pub(crate) fn new() -> Self {
        let quarter = memory::available().map_or(BUFFER_BYTES, |n| (n / 4) as usize);
        let words = BUFFER_BYTES.min(quarter).max(1 << 20) / 8;
        // Written word by word: pages never written would all be one page of zeros.
        Self((0..words as u64).collect())
    }

    /// Bytes a second that `threads` threads read together: the median of several passes after one to warm up.
    #[must_use]
    pub(crate) fn measure(&self, threads: usize) -> f64 {
        let share = self.0.len().div_ceil(threads.max(1)).next_multiple_of(8);
        let mut seconds: Vec<f64> = (0..=PASSES)
            .map(|_| {
                let start = Instant::now();
                std::thread::scope(|scope| {
                    for part in self.0.chunks(share) {
                        scope.spawn(|| black_box(sum(black_box(part))));
                    }
                });
                start.elapsed().as_secs_f64()
            })
            .skip(1)
            .collect();
        seconds.sort_by(f64::total_cmp);
        (self.0.len() * 8) as f64 / seconds[PASSES / 2]
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

/// Sixteen independent sums, so that loads, and not additions, are what is waited for.
fn sum(words: &[u64]) -> u64 {
    let (chunks, rest) = words.as_chunks::<16>();
    let mut sums = [0u64; 16];
    for chunk in chunks {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    rest.iter().chain(&sums).fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        for n in [0u64, 1, 15, 16, 17, 1000] {
            let words: Vec<u64> = (0..n).collect();
            assert_eq!(sum(&words), n * n.saturating_sub(1) / 2);
        }
    }

    #[test]
    fn more_threads_than_chunks_still_measure() {
        let probe = Probe((0..4096).collect());
        assert!(probe.measure(1) > 0.0);
        assert!(probe.measure(64).is_finite());
    }
}
