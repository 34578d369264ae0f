//! What every machine computes with the embedded tiny model: the constants that `kinglet selftest` and the tests share.
//!
//! A change that moves one of them changes results, and needs a reason; both programs print what they got instead.

use kinglet::fnv::{self, fnv1a};
use kinglet::tokenizer::TokenId;
use kinglet_quant::DType;

/// What one quantised file of the tiny model gives.
#[derive(Clone, Copy, Debug)]
pub struct Golden {
    /// The type of the file, converted with the default options.
    pub dtype: DType,
    /// [`logits_hash`] of the last logits after [`TOKENS`] tokens of the stream [`token`], with the int8 cache.
    pub logits: u64,
    /// SHA-256 of the file's data section.
    pub data: &'static str,
}

/// Both quantised types.
pub const TINY: [Golden; 2] = [
    Golden { dtype: DType::Q4, logits: 0x14a0_6c39_e3b3_309f, data: "a9171b45f60c696325e8d144c0f4369e9cf6401c3c5891ce8ad2bf25d934c245" },
    Golden { dtype: DType::Q8, logits: 0xae9e_8798_fe08_14e8, data: "e205170c8d2e489bb076f8784513855332f0327d32d9889f6927d740d21741f0" },
];

/// Tokens evaluated: more than a batch of any size that is tried.
pub const TOKENS: usize = 200;

/// Token `i` of the stream that every run evaluates: SplitMix64 of `i`, modulo the vocabulary.
#[must_use]
pub fn token(i: usize, vocab: u32) -> TokenId {
    let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    TokenId(((z ^ (z >> 31)) % u64::from(vocab)) as u32)
}

/// FNV-1a (64 bits) of logits, as their bits stand in little-endian memory: a few lines on any board.
#[must_use]
pub fn logits_hash(logits: &[f32]) -> u64 {
    fnv1a(fnv::START, logits.iter().flat_map(|x| x.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::logits_hash;

    #[test]
    fn the_hash_is_fnv_1a_of_the_bits() {
        // A vector of its authors: "foob".
        assert_eq!(logits_hash(&[f32::from_le_bytes(*b"foob")]), 0xdd12_0e79_0c25_12af);
        assert_ne!(logits_hash(&[0.0]), logits_hash(&[-0.0]));
    }
}
