//! The generator.

/// PCG-XSH-RR 64/32 (M. E. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number
/// Generation", 2014): 64 bits of state, 32 bits a step, on stream 54, the stream of the reference's published example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pcg32 {
    state: u64,
}

impl Pcg32 {
    const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
    const INCREMENT: u64 = (54 << 1) | 1;

    /// A generator for a seed; any seed is as good as any other.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Self { state: 0 };
        random.next_u32();
        random.state = random.state.wrapping_add(seed);
        random.next_u32();
        random
    }

    /// A generator where another one stood, by its [`state`](Self::state).
    #[must_use]
    pub const fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> u64 {
        self.state
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT);
        let shifted = (((old >> 18) ^ old) >> 27) as u32;
        shifted.rotate_right((old >> 59) as u32)
    }

    /// A number in 0..1: two steps make 64 bits, the first one the high half, of which the high 53 count.
    pub fn unit(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let bits = (high << 32 | u64::from(self.next_u32())) >> 11;
        bits as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example() {
        let mut random = Pcg32::new(42);
        let expected = [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e];
        assert_eq!(expected.map(|_| random.next_u32()), expected);
    }

    #[test]
    fn a_state_goes_on() {
        let mut random = Pcg32::new(42);
        random.next_u32();
        let mut other = Pcg32::from_state(random.state());
        assert_eq!([0; 9].map(|_| other.next_u32()), [0; 9].map(|_| random.next_u32()));
    }

    #[test]
    fn units_fill_their_range() {
        let mut random = Pcg32::new(7);
        let mut tenths = [0_u32; 10];
        for _ in 0..100_000 {
            let unit = random.unit();
            assert!((0.0..1.0).contains(&unit));
            tenths[(unit * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| count.abs_diff(10_000) < 400), "{tenths:?}");
    }
}
