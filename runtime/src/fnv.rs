//! FNV-1a, 64 bits (Fowler, Noll and Vo; <http://www.isthe.com/chongo/tech/comp/fnv/>): a checksum against accidents, a few lines on
//! any board. It holds nobody off who means to deceive.

/// The hash of no bytes.
pub const START: u64 = 0xcbf2_9ce4_8422_2325;
/// What each step multiplies with.
pub const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash of what gave `hash` so far and these bytes after it.
pub fn fnv1a(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_vectors() {
        for (text, hash) in [("", START), ("a", 0xaf63_dc4c_8601_ec8c), ("foob", 0xdd12_0e79_0c25_12af), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv1a(START, text.bytes()), hash, "{text}");
        }
    }
}
