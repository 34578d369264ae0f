//! Any tables are an error, or a tokenizer that encodes any text to ids that exist and decodes any ids.
//!
//! The input is a section, then a text, then the text's length in the last two bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// One text of the properties, for the fuzzer here and for the random damage of the test suite.
#[path = "../../src/properties.rs"]
#[allow(dead_code, reason = "each target uses its half")]
mod properties;

fuzz_target!(|input: &[u8]| {
    let Some((rest, len)) = input.split_last_chunk::<2>() else { return };
    let text_len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (section, text) = rest.split_at(rest.len() - text_len);
    // The vocabulary is what the section says: a wrong one is refused at once.
    let vocab = section.get(8..12).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let ids: Vec<u32> = text.iter().map(|&b| u32::from(b)).collect();
    let _ = properties::tokenizer(section, vocab, &String::from_utf8_lossy(text), &ids);
});
