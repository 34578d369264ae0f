//! Unicode normalisation form C (UAX #15) of a text, in the caller's memory.
//!
//! A text is cut into segments that no mapping crosses: a segment starts at a character of combining class 0 that never
//! composes with what is before it. Each segment is decomposed, its combining marks are put in order, and it is composed again:
//!
//! 1. A code and its combining class share a word (`class << 24 | code`), so that the class is looked up once.
//! 2. Marks are ordered by a stable distribution over the classes that occur. There are fewer than sixty, so a text
//!    made of nothing but marks still takes linear time.
//! 3. Hangul syllables are composed and decomposed by arithmetic.

use super::unicode::{combining_class, composition, decomposition, nfc_may_change};

const HANGUL_SYLLABLES: u32 = 0xac00;
const HANGUL_LEADING: u32 = 0x1100;
const HANGUL_VOWELS: u32 = 0x1161;
const HANGUL_TRAILING: u32 = 0x11a7;
const LEADING_COUNT: u32 = 19;
const VOWEL_COUNT: u32 = 21;
const TRAILING_COUNT: u32 = 28;
const SYLLABLE_COUNT: u32 = LEADING_COUNT * VOWEL_COUNT * TRAILING_COUNT;

/// Bits of a word that hold the code.
const CODE: u32 = 0x00ff_ffff;

/// A text in form C is at most this many times as long in UTF-8.
pub(super) const MAX_EXPANSION: usize = 3;

/// Words of scratch that suffice to normalise `text_bytes` bytes: at most three codes for two bytes, once in the segment and once for ordering.
pub(super) fn scratch_words(text_bytes: usize) -> usize {
    text_bytes * 3 + 8
}

/// True if the text is surely in form C: no character that may change, and marks in order.
pub(super) fn is_normalized(text: &str) -> bool {
    let mut last_class = 0;
    text.chars().all(|character| {
        let class = combining_class(character as u32);
        let in_order = class == 0 || last_class <= class;
        last_class = class;
        in_order && !nfc_may_change(character as u32)
    })
}

/// Writes form C of `text` to `out` and returns its length, or `None` if `out` or `scratch` is too small.
pub(super) fn normalize(text: &str, scratch: &mut [u32], out: &mut [u8]) -> Option<usize> {
    let (mut segment_len, mut written) = (0, 0);
    for character in text.chars() {
        let code = character as u32;
        if segment_len > 0 && starts_segment(code) {
            written += flush(scratch, segment_len, out.get_mut(written..)?)?;
            segment_len = 0;
        }
        segment_len = decompose(code, scratch, segment_len)?;
    }
    written += flush(scratch, segment_len, out.get_mut(written..)?)?;
    Some(written)
}

/// Class 0, composes with nothing before it, and does not decompose into anything that does: so it may not change at all, or it is a
/// syllable or letter that decomposes into such a character. Characters that may change are left in the segment; that is always right.
fn starts_segment(code: u32) -> bool {
    combining_class(code) == 0 && !nfc_may_change(code)
}

/// Appends the full canonical decomposition of a code.
fn decompose(code: u32, segment: &mut [u32], len: usize) -> Option<usize> {
    let syllable = code.wrapping_sub(HANGUL_SYLLABLES);
    if syllable < SYLLABLE_COUNT {
        let trailing = syllable % TRAILING_COUNT;
        let parts = [
            HANGUL_LEADING + syllable / (VOWEL_COUNT * TRAILING_COUNT),
            HANGUL_VOWELS + syllable / TRAILING_COUNT % VOWEL_COUNT,
            HANGUL_TRAILING + trailing,
        ];
        let count = if trailing == 0 { 2 } else { 3 };
        segment.get_mut(len..len + count)?.copy_from_slice(&parts[..count]);
        return Some(len + count);
    }
    // Only the first part decomposes further: unwind to the innermost first part, keeping the second parts.
    let mut seconds = [0; 4];
    let mut depth = 0;
    let mut first = code;
    while let Some((inner, second)) = decomposition(first) {
        first = inner;
        if second != 0 {
            *seconds.get_mut(depth)? = second;
            depth += 1;
        }
    }
    *segment.get_mut(len)? = u32::from(combining_class(first)) << 24 | first;
    for (at, &second) in seconds[..depth].iter().rev().enumerate() {
        *segment.get_mut(len + 1 + at)? = u32::from(combining_class(second)) << 24 | second;
    }
    Some(len + 1 + depth)
}

/// Orders and composes the first `len` words and writes them out; returns the number of bytes.
fn flush(scratch: &mut [u32], len: usize, out: &mut [u8]) -> Option<usize> {
    let (segment, spare) = scratch.split_at_mut_checked(len)?;
    order_marks(segment, spare)?;
    let composed = compose(segment);
    let mut written = 0;
    for &word in &segment[..composed] {
        // Tables and input hold scalar values only.
        let character = char::from_u32(word & CODE)?;
        let place = out.get_mut(written..written + character.len_utf8())?;
        written += character.encode_utf8(place).len();
    }
    Some(written)
}

/// Sorts each run of marks by class, keeping the order within a class.
fn order_marks(segment: &mut [u32], spare: &mut [u32]) -> Option<()> {
    for run in segment.chunk_by_mut(|a, b| a >> 24 != 0 && b >> 24 != 0) {
        if run.is_sorted_by_key(|word| word >> 24) {
            continue;
        }
        let mut present = [0_u64; 4];
        for word in run.iter() {
            let class = word >> 24;
            present[class as usize / 64] |= 1 << (class % 64);
        }
        let spare = spare.get_mut(..run.len())?;
        let mut filled = 0;
        for class in (1..256).filter(|class| present[*class as usize / 64] >> (class % 64) & 1 == 1) {
            for &word in run.iter().filter(|word| *word >> 24 == class) {
                spare[filled] = word;
                filled += 1;
            }
        }
        run.copy_from_slice(spare);
    }
    Some(())
}

/// Composes in place; returns the new length.
fn compose(segment: &mut [u32]) -> usize {
    let mut starter: Option<usize> = None;
    let mut last_class = 0;
    let mut len = 0;
    for at in 0..segment.len() {
        let word = segment[at];
        let class = word >> 24;
        if let Some(starter) = starter {
            // Blocked if a mark that stayed is of the same or a higher class, or anything stayed before a starter.
            let adjacent = len == starter + 1;
            if (adjacent || (last_class < class && last_class != 0))
                && let Some(composed) = compose_pair(segment[starter], word & CODE)
            {
                segment[starter] = composed;
                continue;
            }
        }
        if class == 0 {
            starter = Some(len);
        }
        last_class = class;
        segment[len] = word;
        len += 1;
    }
    len
}

fn compose_pair(first: u32, second: u32) -> Option<u32> {
    let leading = first.wrapping_sub(HANGUL_LEADING);
    let vowel = second.wrapping_sub(HANGUL_VOWELS);
    if leading < LEADING_COUNT && vowel < VOWEL_COUNT {
        return Some(HANGUL_SYLLABLES + (leading * VOWEL_COUNT + vowel) * TRAILING_COUNT);
    }
    let syllable = first.wrapping_sub(HANGUL_SYLLABLES);
    let trailing = second.wrapping_sub(HANGUL_TRAILING);
    if syllable < SYLLABLE_COUNT && syllable.is_multiple_of(TRAILING_COUNT) && (1..TRAILING_COUNT).contains(&trailing) {
        return Some(first + trailing);
    }
    composition(first, second)
}
