//! The runtime's tokenizer against the `tokenizers` library, id for id and character for character.
//!
//! Each family's tokenizer is trained here on generated text, written as its `tokenizer.json`, compiled, and compared on strings in
//! many scripts. A real file is compared by `KINGLET_TOKENIZER_JSON=path cargo test --release -p kinglet-tests --test tokenizer -- --ignored`.

#[path = "tokenizer/families.rs"]
mod families;
#[path = "tokenizer/faults.rs"]
mod faults;
#[path = "tokenizer/text.rs"]
mod text;

use families::{Family, families};
use kinglet::tokenizer::section::{Kind, NONE};
use kinglet::tokenizer::{DecodeOptions, Decoder, EncodeError, EncodeOptions, TokenId, Tokenizer};
use kinglet_tools::tokenizer_compiler::compile;
use text::{Random, strings};
use unicode_normalization::UnicodeNormalization;

const STRINGS: usize = 3000;

fn encode(tokenizer: &Tokenizer<'_>, text: &str, options: &EncodeOptions<'_>) -> Vec<u32> {
    let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
    let mut ids = vec![TokenId(0); tokenizer.max_tokens(text.len())];
    let count = tokenizer.encode(text, options, &mut scratch, &mut ids).unwrap();
    ids[..count].iter().map(|id| id.0).collect()
}

/// Decodes as a stream; every part is whole characters, because it is a `str`.
fn decode(tokenizer: &Tokenizer<'_>, ids: &[u32], skip_special: bool) -> String {
    let mut decoder = Decoder::new(tokenizer, DecodeOptions { skip_special, continues: false });
    let mut buffer = vec![0; decoder.buffer_bytes()];
    let mut text = String::new();
    for &id in ids {
        text.push_str(decoder.push(TokenId(id), &mut buffer).unwrap());
    }
    text.push_str(decoder.finish(&mut buffer).unwrap());
    text
}

fn compare_encoding(name: &str, reference: &mut tokenizers::Tokenizer, tokenizer: &Tokenizer<'_>, texts: &[String]) {
    let mut failures = Vec::new();
    for parse_special in [true, false] {
        reference.set_encode_special_tokens(!parse_special);
        for add_special in [true, false] {
            for text in texts {
                let expected = reference.encode(text.as_str(), add_special).unwrap().get_ids().to_vec();
                let got = encode(tokenizer, text, &EncodeOptions { parse_special, add_special, ..EncodeOptions::default() });
                if got != expected {
                    failures.push(format!("{text:?} (special {parse_special}, {add_special}): {got:?}, not {expected:?}"));
                }
            }
        }
    }
    failures.sort_by_key(String::len);
    let count = failures.len();
    failures.truncate(5);
    assert!(count == 0, "{name}: {count} of {} differ:\n{}", texts.len() * 4, failures.join("\n"));
}

fn compare_decoding(name: &str, reference: &tokenizers::Tokenizer, tokenizer: &Tokenizer<'_>, sequences: &[Vec<u32>]) {
    let mut failures = Vec::new();
    for skip_special in [true, false] {
        for ids in sequences {
            let expected = reference.decode(ids, skip_special).unwrap();
            let got = decode(tokenizer, ids, skip_special);
            if got != expected {
                failures.push(format!("{ids:?} (skip {skip_special}): {got:?}, not {expected:?}"));
            }
        }
    }
    failures.sort_by_key(String::len);
    let count = failures.len();
    failures.truncate(5);
    assert!(count == 0, "{name}: {count} of {} differ:\n{}", sequences.len() * 2, failures.join("\n"));
}

/// Random ids, and mostly byte-like tokens in every other sequence, so that invalid UTF-8 is common.
fn random_sequences(tokenizer: &Tokenizer<'_>, count: usize, longest: usize) -> Vec<Vec<u32>> {
    let mut random = Random(0x5eed);
    let vocab = tokenizer.vocab_size();
    let short: Vec<u32> =
        (0..vocab).filter(|&id| tokenizer.kind(TokenId(id)) != Kind::Unused && tokenizer.bytes(TokenId(id)).len() == 1).collect();
    (0..count)
        .map(|at| {
            let len = random.below(longest) + 1;
            (0..len)
                .map(|_| {
                    if at % 2 == 0 || random.below(4) == 0 { random.below(vocab as usize) as u32 } else { short[random.below(short.len())] }
                })
                .collect()
        })
        .collect()
}

#[test]
fn every_family_encodes_as_the_reference() {
    let mut compared = 0;
    // Sections whose header says the results of merges, and sections with a table of them.
    let mut forms = [0; 2];
    for Family { name, json, .. } in families() {
        let mut reference: tokenizers::Tokenizer = json.parse().unwrap();
        let vocab_size = families::vocab_size(&reference);
        let compiled = compile(json.as_bytes(), None, None, vocab_size).unwrap();
        let tokenizer = Tokenizer::parse(&compiled.section, vocab_size).unwrap();
        let first_result = compiled.section[56..].first_chunk().map(|word| u32::from_le_bytes(*word));
        forms[usize::from(first_result == Some(NONE))] += 1;
        let texts = strings(STRINGS, 11);
        compare_encoding(name, &mut reference, &tokenizer, &texts);
        compared += texts.len();
    }
    println!("{compared} strings compared, each with and without control tokens and added tokens");
    assert!(compared >= 10_000);
    println!("{} families with results in the header, {} with a table of them", forms[0], forms[1]);
    assert!(forms[0] > 0 && forms[1] > 0);
}

#[test]
fn every_family_decodes_as_the_reference() {
    for Family { name, json, .. } in families() {
        let reference: tokenizers::Tokenizer = json.parse().unwrap();
        let vocab_size = families::vocab_size(&reference);
        let compiled = compile(json.as_bytes(), None, None, vocab_size).unwrap();
        let tokenizer = Tokenizer::parse(&compiled.section, vocab_size).unwrap();
        let mut sequences = random_sequences(&tokenizer, STRINGS, 30);
        for text in strings(STRINGS, 12) {
            sequences.push(encode(&tokenizer, &text, &EncodeOptions::default()));
        }
        compare_decoding(name, &reference, &tokenizer, &sequences);
    }
}

#[test]
fn long_runs_of_byte_tokens_stream() {
    let family = families().into_iter().find(|family| family.name == "llama-2").unwrap();
    let vocab_size = families::vocab_size(&family.json.parse().unwrap());
    let compiled = compile(family.json.as_bytes(), None, None, vocab_size).unwrap();
    let tokenizer = Tokenizer::parse(&compiled.section, vocab_size).unwrap();
    let byte = |byte: u8| {
        let is_byte = |id: &TokenId| tokenizer.kind(*id) == Kind::Byte && tokenizer.bytes(*id) == [byte];
        (0..vocab_size).map(TokenId).find(is_byte).unwrap()
    };
    // A long valid run is whole, and its beginning comes before its end.
    let text = "𓀀𓁀𓂀𓃀".repeat(40);
    let ids: Vec<u32> = text.bytes().map(|b| byte(b).0).collect();
    assert_eq!(decode(&tokenizer, &ids, true), text);
    let mut decoder = Decoder::new(&tokenizer, DecodeOptions::default());
    let mut buffer = vec![0; decoder.buffer_bytes()];
    let early: usize = ids[..64].iter().map(|&id| decoder.push(TokenId(id), &mut buffer).unwrap().len()).sum();
    assert!(early >= 60, "{early} bytes");
    // Behind the first 32 bytes only what is invalid is replaced.
    let bytes: Vec<u8> = "é".repeat(16).bytes().chain(*b"\xc3").chain("ok".bytes()).chain(*b"\xe2\x82").collect();
    let ids: Vec<u32> = bytes.iter().map(|&b| byte(b).0).collect();
    assert_eq!(decode(&tokenizer, &ids, true), format!("{}\u{fffd}ok\u{fffd}\u{fffd}", "é".repeat(16)));
}

#[test]
fn literal_text_never_becomes_a_control_token() {
    for Family { name, json, control } in families() {
        let vocab_size = families::vocab_size(&json.parse().unwrap());
        let compiled = compile(json.as_bytes(), None, None, vocab_size).unwrap();
        let tokenizer = Tokenizer::parse(&compiled.section, vocab_size).unwrap();
        let is_control = |id: &&u32| tokenizer.kind(TokenId(**id)) == Kind::Control;
        let (start, user) = (format!("{control}user "), format!("a {control} b{control}"));
        let text = format!("{start}{user}{control}");
        let typed = start.len()..start.len() + user.len();
        let options = EncodeOptions { literal: core::slice::from_ref(&typed), add_special: false, ..EncodeOptions::default() };
        let marked = encode(&tokenizer, &text, &options);
        let parsed = encode(&tokenizer, &text, &EncodeOptions { literal: &[], ..options });
        assert_eq!(parsed.iter().filter(is_control).count(), 4, "{name}");
        assert_eq!(marked.iter().filter(is_control).count(), 2, "{name}: {marked:?}");
        let none = encode(&tokenizer, &text, &EncodeOptions { parse_special: false, ..options });
        assert_eq!(none.iter().filter(is_control).count(), 0, "{name}");
    }
}

#[test]
fn form_c_is_that_of_the_reference() {
    // A byte-level tokenizer without merges: its ids are the normalised text's bytes.
    let json = families::bytes_only(Some("NFC"));
    let compiled = compile(json.as_bytes(), None, None, 256).unwrap();
    let tokenizer = Tokenizer::parse(&compiled.section, 256).unwrap();
    let normalized = |text: &str| {
        let ids = encode(&tokenizer, text, &EncodeOptions::default());
        ids.iter().flat_map(|&id| tokenizer.bytes(TokenId(id)).to_vec()).collect::<Vec<u8>>()
    };
    let mut text = String::new();
    for character in '\0'..=char::MAX {
        text.push(character);
        if text.len() > 4000 {
            assert_eq!(normalized(&text), text.nfc().collect::<String>().into_bytes());
            text.clear();
        }
        let alone = character.to_string();
        assert_eq!(normalized(&alone), alone.nfc().collect::<String>().into_bytes(), "{character:?}");
    }
    // Runs of what composes and what is reordered, in every order.
    let parts: Vec<char> = ('\u{41}'..='\u{5a}')
        .step_by(5)
        .chain('\u{300}'..='\u{345}')
        .chain('\u{5b0}'..='\u{5bd}')
        .chain([
            '\u{1100}',
            '\u{1161}',
            '\u{11a8}',
            '\u{ac00}',
            '\u{ac01}',
            '\u{9d7}',
            '\u{9c7}',
            '\u{9be}',
            '\u{1d157}',
            '\u{1d165}',
            '\u{1d16e}',
            'ệ',
            'ǭ',
            '\u{f73}',
            '\u{3099}',
            'か',
        ])
        .collect();
    let mut random = Random(7);
    for _ in 0..20_000 {
        let text: String = (0..random.below(12)).map(|_| parts[random.below(parts.len())]).collect();
        assert_eq!(normalized(&text), text.nfc().collect::<String>().into_bytes(), "{text:?}");
    }
}

#[test]
fn adversarial_texts_take_little_time() {
    let letters = "ab".repeat(50_000);
    let same = "a".repeat(100_000);
    let marks: String = (0..50_000).map(|at| if at % 2 == 0 { '\u{301}' } else { '\u{323}' }).collect();
    let spaces = " ".repeat(99_999) + "x";
    let mixed = " \n".repeat(50_000) + "x";
    let controls = "<|im".repeat(25_000);
    for Family { name, json, .. } in families() {
        let vocab_size = families::vocab_size(&json.parse().unwrap());
        let compiled = compile(json.as_bytes(), None, None, vocab_size).unwrap();
        let tokenizer = Tokenizer::parse(&compiled.section, vocab_size).unwrap();
        for text in [&letters, &same, &marks, &spaces, &mixed, &controls] {
            let start = std::time::Instant::now();
            let ids = encode(&tokenizer, text, &EncodeOptions { add_special: false, ..EncodeOptions::default() });
            assert!(!ids.is_empty());
            // Quadratic work on 100 KB would take minutes.
            assert!(start.elapsed().as_secs() < 5, "{name}: {:?} for {:?}…", start.elapsed(), &text[..8]);
        }
    }
}

#[test]
fn small_buffers_are_errors_with_the_need() {
    let family = &families()[0];
    let vocab_size = families::vocab_size(&family.json.parse().unwrap());
    let compiled = compile(family.json.as_bytes(), None, None, vocab_size).unwrap();
    let tokenizer = Tokenizer::parse(&compiled.section, vocab_size).unwrap();
    let text = "some words, and 12 numbers";
    let ids = encode(&tokenizer, text, &EncodeOptions::default());
    let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
    let mut out = vec![TokenId(0); ids.len()];
    assert_eq!(tokenizer.encode(text, &EncodeOptions::default(), &mut scratch, &mut out), Ok(ids.len()));
    match tokenizer.encode(text, &EncodeOptions::default(), &mut scratch, &mut out[1..]) {
        Err(EncodeError::Output(size)) => {
            assert_eq!((size.needed, size.got), (ids.len(), ids.len() - 1))
        }
        other => panic!("{other:?}"),
    }
    match tokenizer.encode(text, &EncodeOptions::default(), &mut scratch[..6], &mut out) {
        Err(EncodeError::Scratch(size)) => assert_eq!((size.needed, size.got), (tokenizer.scratch_words(text.len()), 6)),
        other => panic!("{other:?}"),
    }
    let mut decoder = Decoder::new(&tokenizer, DecodeOptions::default());
    assert!(decoder.push(TokenId(ids[0]), &mut []).is_err());
    assert_eq!(decoder.push(TokenId(u32::MAX), &mut []), Ok(""));
}

#[test]
fn mutated_sections_never_panic() {
    let mut random = Random(99);
    let texts = strings(12, 5);
    let mut accepted = 0;
    for Family { json, .. } in families() {
        let vocab_size = families::vocab_size(&json.parse().unwrap());
        let section = compile(json.as_bytes(), None, None, vocab_size).unwrap().section;
        for round in 0..300 {
            let mut bytes = section.clone();
            if round % 10 == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
            for _ in 0..=random.below(3) {
                if bytes.is_empty() {
                    break;
                }
                // Half of the changes hit the header, where most of the meaning is.
                let at = if random.below(2) == 0 { random.below(bytes.len().min(80)) } else { random.below(bytes.len()) };
                bytes[at] = if random.below(2) == 0 { random.next() as u8 } else { bytes[at] ^ 1 << random.below(8) };
            }
            let Ok(tokenizer) = Tokenizer::parse(&bytes, vocab_size) else {
                continue;
            };
            accepted += 1;
            for text in &texts {
                let ids = encode(&tokenizer, text, &EncodeOptions::default());
                decode(&tokenizer, &ids, false);
            }
            let some: Vec<u32> = (0..40).map(|_| random.next() as u32 % (vocab_size + 3)).collect();
            decode(&tokenizer, &some, true);
        }
    }
    assert!(accepted > 0, "no mutation survived the check, so nothing behind it was tried");
}

#[test]
#[ignore = "needs KINGLET_TOKENIZER_JSON, a real tokenizer.json"]
fn a_real_tokenizer_is_the_reference() {
    let path = std::env::var("KINGLET_TOKENIZER_JSON").expect("KINGLET_TOKENIZER_JSON names a tokenizer.json");
    let json = std::fs::read_to_string(&path).unwrap();
    let mut reference: tokenizers::Tokenizer = json.parse().unwrap();
    let vocab_size = families::vocab_size(&reference);
    let compiled = compile(json.as_bytes(), None, None, vocab_size).unwrap();
    println!("{} bytes of section; notes: {:#?}", compiled.section.len(), compiled.notes);
    let start = std::time::Instant::now();
    let tokenizer = Tokenizer::parse(&compiled.section, vocab_size).unwrap();
    println!("checked in {:?}", start.elapsed());
    let mut texts = strings(20_000, 3);
    if let Ok(corpus) = std::env::var("KINGLET_CORPUS") {
        let corpus = std::fs::read_to_string(corpus).unwrap();
        texts.extend(corpus.lines().map(str::to_owned));
        texts.extend(corpus.split("\n\n").map(str::to_owned));
        texts.push(corpus);
    }
    compare_encoding(&path, &mut reference, &tokenizer, &texts);
    let mut sequences = random_sequences(&tokenizer, 20_000, 30);
    sequences.extend(texts.iter().map(|text| encode(&tokenizer, text, &EncodeOptions::default())));
    compare_decoding(&path, &reference, &tokenizer, &sequences);
    println!("{} strings and {} sequences equal", texts.len(), sequences.len());
}
