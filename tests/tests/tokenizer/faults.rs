//! Every fault of a tokenizer section has its own error, and every unsupported setting of a `tokenizer.json` its own refusal.

use super::families::{small_byte_level, small_sentencepiece};
use kinglet::tokenizer::section::{HEADER_BYTES, MAX_TRIPLE, NONE};
use kinglet::tokenizer::{TokenId, Tokenizer, TokenizerError};
use kinglet_tools::tokenizer_compiler::{TokenizerCompileError, compile};
use serde_json::{Value, json};

/// A section that can be changed table by table.
#[derive(Clone)]
struct Section {
    bytes: Vec<u8>,
    vocab_size: u32,
}

#[derive(Clone, Copy)]
enum Table {
    Offsets,
    Kinds,
    Text,
    ByteTokens,
    MergeOffsets,
    Merges,
    Results,
    Index,
    Added,
    AddedText,
    Ends,
}

impl Section {
    fn new(json: &Value, vocab_size: u32) -> Self {
        let generation = json!({ "eos_token_id": [2, 5] }).to_string();
        let compiled = compile(json.to_string().as_bytes(), None, Some(generation.as_bytes()), vocab_size).unwrap();
        Self { bytes: compiled.section, vocab_size }
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    /// Where a table starts, from the specification.
    fn at(&self, table: Table) -> usize {
        let field = |at: usize| self.word(at) as usize;
        let ids = field(8);
        let results = if self.word(56) == NONE { field(16) } else { 0 };
        let lengths = [
            (ids + 1) * 3,
            ids,
            field(12),
            1024,
            (ids + 1) * 3,
            field(16) * 6,
            results * 3,
            field(20) * 3,
            (field(24) + field(28)) * 16,
            field(32),
        ];
        HEADER_BYTES + lengths[..table as usize].iter().sum::<usize>()
    }

    fn set(mut self, at: usize, word: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        self
    }

    fn set_word(self, table: Table, position: usize, word: u32) -> Self {
        let at = self.at(table) + position * 4;
        self.set(at, word)
    }

    fn triple(&self, table: Table, position: usize) -> u32 {
        let at = self.at(table) + position * 3;
        u32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], 0])
    }

    fn set_triple(mut self, table: Table, position: usize, triple: u32) -> Self {
        let at = self.at(table) + position * 3;
        self.bytes[at..at + 3].copy_from_slice(&triple.to_le_bytes()[..3]);
        self
    }

    fn set_byte(mut self, at: usize, byte: u8) -> Self {
        self.bytes[at] = byte;
        self
    }

    fn error(&self) -> TokenizerError {
        match Tokenizer::parse(&self.bytes, self.vocab_size) {
            Ok(_) => panic!("accepted"),
            Err(error) => error,
        }
    }
}

const BYTE_LEVEL_SIZE: u32 = 264;
const SENTENCEPIECE_SIZE: u32 = 264;

fn byte_level() -> Section {
    Section::new(&small_byte_level(), BYTE_LEVEL_SIZE)
}

/// The same with two merges in the other order: then the results do not follow each other, and there is a table of them.
fn with_results() -> Section {
    let mut json = small_byte_level();
    json["model"]["merges"].as_array_mut().unwrap().swap(0, 1);
    Section::new(&json, BYTE_LEVEL_SIZE)
}

fn sentencepiece() -> Section {
    Section::new(&small_sentencepiece(), SENTENCEPIECE_SIZE)
}

fn id(section: &Section, text: &str) -> u32 {
    Tokenizer::parse(&section.bytes, section.vocab_size).unwrap().token_id(text).unwrap().0
}

#[test]
fn each_fault_of_a_section_has_its_error() {
    use Table::*;
    use TokenizerError as E;
    let b = byte_level;
    let r = with_results;
    let s = sentencepiece;
    let (he, el, hel) = (id(&b(), "he"), id(&b(), "el"), id(&b(), "hel"));
    let (h, control, plain) = (id(&b(), "h"), id(&b(), "<a>"), id(&b(), "<a>b"));
    let unused = BYTE_LEVEL_SIZE - 1;
    let he_offset = b().triple(Offsets, he as usize);
    let space = id(&s(), " ");
    let last_control = id(&b(), "<o>");
    assert_eq!(last_control + 1, unused);
    // Merges are ordered by their left side: e+l, h+e, he+l. Their ranks are 1, 0, 2.
    let h_e = b().triple(MergeOffsets, h as usize) as usize;
    let cut = |section: Section, len: usize| Section { bytes: section.bytes[..len].to_vec(), ..section };
    let full = b().bytes.len();
    let cases: Vec<(&str, Section, E)> = vec![
        ("empty", cut(b(), 0), E::Length { expected: 80, got: 0 }),
        ("cut inside the header", cut(b(), 79), E::Length { expected: 80, got: 79 }),
        ("cut at the end", cut(b(), full - 1), E::Length { expected: full as u64, got: full as u64 - 1 }),
        ("another file", b().set_byte(0, b'G'), E::Magic),
        ("a later version", b().set(4, 2), E::Version { got: 2 }),
        ("another model's size", b().set(8, 300), E::VocabularySize { expected: BYTE_LEVEL_SIZE, got: 300 }),
        (
            "a text longer than the section",
            b().set(12, u32::MAX),
            E::Length { expected: full as u64 - u64::from(b().word(12)) + u64::from(u32::MAX), got: full as u64 },
        ),
        ("more merges than there are", b().set(16, 4), E::Length { expected: full as u64 + 6, got: full as u64 }),
        (
            "merges beyond 32 bits",
            b().set(16, u32::MAX),
            E::Length { expected: full as u64 + 6 * (u64::from(u32::MAX) - 3), got: full as u64 },
        ),
        ("more raw added tokens", b().set(24, 3), E::Length { expected: full as u64 + 16, got: full as u64 }),
        ("a beginning that does not exist", b().set(40, BYTE_LEVEL_SIZE), E::HeaderToken { got: BYTE_LEVEL_SIZE }),
        ("an unknown token that is unused", b().set(44, unused), E::HeaderToken { got: unused }),
        ("a result that does not exist, of the first merge", b().set(56, BYTE_LEVEL_SIZE), E::HeaderToken { got: BYTE_LEVEL_SIZE }),
        ("results that are left out", with_results().set(56, he), E::Length { expected: full as u64, got: full as u64 + 9 }),
        ("a table of results that is missing", b().set(56, NONE), E::Length { expected: full as u64 + 9, got: full as u64 }),
        ("an unknown model", b().set_byte(60, 2), E::UnknownOption { option: "ModelKind", got: 2 }),
        ("an unknown normalizer", b().set_byte(61, 4), E::UnknownOption { option: "Normalizer", got: 4 }),
        ("an unknown split", b().set_byte(62, 9), E::UnknownOption { option: "Split", got: 9 }),
        ("an unknown lead", b().set_byte(64, 3), E::UnknownOption { option: "Lead", got: 3 }),
        ("an unknown decoder", b().set_byte(65, 4), E::UnknownOption { option: "DecoderKind", got: 4 }),
        ("a flag that is neither", b().set_byte(67, 2), E::UnknownOption { option: "ignore_merges", got: 2 }),
        ("digits without their split", b().set_byte(63, 3), E::Options { sentencepiece: false }),
        ("a byte-level model of spaces", b().set_byte(61, 2), E::Options { sentencepiece: false }),
        ("words looked up with a lead", b().set_byte(67, 1).set_byte(64, 1), E::Options { sentencepiece: false }),
        ("form C of characters", s().set_byte(61, 1), E::Options { sentencepiece: true }),
        ("reserved bytes used", b().set_byte(70, 1), E::Reserved),
        ("text does not start at 0", b().set_triple(Offsets, 0, 1), E::TextOffset { token: 0 }),
        ("text offsets fall", b().set_triple(Offsets, he as usize + 1, he_offset - 1), E::TextOffset { token: he }),
        ("text offset outside", b().set_triple(Offsets, 6, MAX_TRIPLE), E::TextOffset { token: 5 }),
        (
            "text left out",
            b().set_triple(Offsets, BYTE_LEVEL_SIZE as usize, b().word(12) - 1),
            E::TextOffset { token: BYTE_LEVEL_SIZE - 1 },
        ),
        (
            "an unknown kind",
            {
                let at = b().at(Kinds) + 7;
                b().set_byte(at, 5)
            },
            E::TokenKind { token: 7 },
        ),
        (
            "an unused token with text",
            {
                let at = b().at(Kinds) + 7;
                b().set_byte(at, 0)
            },
            E::TokenKind { token: 7 },
        ),
        (
            "a token without text",
            {
                let at = b().at(Kinds) + unused as usize;
                b().set_byte(at, 1)
            },
            E::TokenKind { token: unused },
        ),
        (
            "a byte token of a byte-level model",
            {
                let at = b().at(Kinds) + 7;
                b().set_byte(at, 2)
            },
            E::TokenKind { token: 7 },
        ),
        (
            "text that is not UTF-8",
            {
                let at = s().at(Text);
                s().set_byte(at, 0xff)
            },
            E::TokenUtf8 { token: 0 },
        ),
        ("a byte's token that is another byte's", b().set_word(ByteTokens, 65, h), E::ByteToken { byte: 65 }),
        ("a byte's token that does not exist", b().set_word(ByteTokens, 255, BYTE_LEVEL_SIZE), E::ByteToken { byte: 255 }),
        ("a byte's token that is a character", s().set_word(ByteTokens, 97, id(&s(), "a")), E::ByteToken { byte: 97 }),
        ("merge offsets do not start at 0", b().set_triple(MergeOffsets, 0, 1), E::MergeOffset { left: 0 }),
        ("merge offsets fall", b().set_triple(MergeOffsets, unused as usize, 0), E::MergeOffset { left: unused - 1 }),
        ("merge offset outside", b().set_triple(MergeOffsets, 1, 4), E::MergeOffset { left: 0 }),
        ("merges left out", b().set_triple(MergeOffsets, BYTE_LEVEL_SIZE as usize, 2), E::MergeOffset { left: unused }),
        ("a right side that does not exist", b().set_triple(Merges, h_e * 2, BYTE_LEVEL_SIZE), E::MergeToken { merge: h_e as u32 }),
        ("a rank that does not exist", b().set_triple(Merges, h_e * 2 + 1, 3), E::MergeToken { merge: h_e as u32 }),
        ("another merge's rank", b().set_triple(Merges, h_e * 2 + 1, 1), E::MergeText { merge: h_e as u32 }),
        ("results that follow another one", b().set(56, el), E::MergeText { merge: 0 }),
        ("results that run into a control token", b().set(56, last_control - 1), E::MergeToken { merge: 0 }),
        ("results that run into unused ids", b().set(56, last_control), E::MergeToken { merge: 0 }),
        ("a result that does not exist", r().set_triple(Results, 1, BYTE_LEVEL_SIZE), E::MergeToken { merge: h_e as u32 }),
        ("a merge that makes a control token", r().set_triple(Results, 1, control), E::MergeToken { merge: h_e as u32 }),
        ("a merge that makes one of its sides", r().set_triple(Results, 1, h), E::MergeText { merge: h_e as u32 }),
        ("a merge that makes another text", r().set_triple(Results, 1, el), E::MergeText { merge: h_e as u32 }),
        ("a merge that makes too much", r().set_triple(Results, 1, hel), E::MergeText { merge: h_e as u32 }),
        ("a control token in the index", b().set_triple(Index, 3, control), E::IndexToken { position: 3 }),
        ("an id of the index that does not exist", b().set_triple(Index, 0, MAX_TRIPLE), E::IndexToken { position: 0 }),
        ("an index out of order", b().set_triple(Index, 1, b().triple(Index, 0)), E::IndexOrder { position: 1 }),
        ("an added token that does not exist", b().set_word(Added, 0, NONE), E::Added { position: 0 }),
        ("an added token that is ordinary", b().set_word(Added, 0, h), E::Added { position: 0 }),
        ("an added token without text", b().set_word(Added, 1, 0), E::Added { position: 0 }),
        ("unknown flags of an added token", b().set_word(Added, 6, 4), E::Added { position: 1 }),
        ("a parent that is no prefix", b().set_word(Added, 3, 1), E::Added { position: 0 }),
        ("a parent that is left out", b().set_word(Added, 7, NONE), E::Added { position: 1 }),
        ("a parent of its own", b().set_word(Added, 7, 1), E::Added { position: 1 }),
        ("an added token's text outside", b().set_word(Added, 13, 1000), E::Added { position: 3 }),
        ("an added token's text left out", b().set_word(Added, 13, b().word(b().at(Added) + 52) - 1), E::Added { position: 4 }),
        (
            "an added token that is not UTF-8",
            {
                let at = b().at(AddedText);
                b().set_byte(at, 0xff)
            },
            E::Added { position: 0 },
        ),
        (
            "added tokens out of order",
            {
                let at = b().at(AddedText) + 4;
                b().set_byte(at, b'\'')
            },
            E::AddedOrder { position: 1 },
        ),
        ("an end that does not exist", b().set_word(Ends, 1, BYTE_LEVEL_SIZE), E::EndToken { position: 1 }),
        ("ends out of order", b().set_word(Ends, 1, 2), E::EndToken { position: 1 }),
    ];
    assert_eq!(id(&b(), "<a>b"), plain);
    let mut wrong = Vec::new();
    for (name, section, expected) in &cases {
        let got = section.error();
        if got != *expected {
            wrong.push(format!("{name}: {got:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(space, id(&s(), " "));
}

#[test]
fn right_sides_of_merges_rise() {
    // h has two merges here; swapping their entries breaks the order that lookups rely on.
    let mut json = small_byte_level();
    let next = json["model"]["vocab"].as_object().unwrap().len();
    // The new token takes the place of the first added one, and those move up.
    for token in json["added_tokens"].as_array_mut().unwrap() {
        token["id"] = (token["id"].as_u64().unwrap() + 1).into();
    }
    json["model"]["vocab"]["hi"] = next.into();
    json["model"]["merges"].as_array_mut().unwrap().push(json!("h i"));
    let section = Section::new(&json, BYTE_LEVEL_SIZE);
    let h = id(&section, "h") as usize;
    let first = section.triple(Table::MergeOffsets, h) as usize;
    let at = section.at(Table::Merges) + first * 6;
    let mut swapped = section.clone();
    swapped.bytes[at..at + 12].rotate_left(6);
    assert_eq!(swapped.error(), TokenizerError::MergeOrder { merge: first as u32 + 1 });
}

#[test]
fn characters_need_a_space() {
    // The index without its first entry, which is the space.
    let section = sentencepiece();
    let at = section.at(Table::Index);
    let count = section.word(20);
    let mut without = section.set(20, count - 1);
    without.bytes.drain(at..at + 3);
    assert_eq!(without.error(), TokenizerError::SpaceToken);
}

#[test]
fn sections_need_no_alignment() {
    let section = byte_level();
    let mut shifted = vec![0];
    shifted.extend(&section.bytes);
    let tokenizer = Tokenizer::parse(&shifted[1..], BYTE_LEVEL_SIZE).unwrap();
    assert_eq!(tokenizer.ends().collect::<Vec<_>>(), [TokenId(2), TokenId(5)]);
    assert!(tokenizer.is_end(TokenId(5)) && !tokenizer.is_end(TokenId(3)));
}

fn refusal(json: &Value) -> String {
    match compile(json.to_string().as_bytes(), None, None, 300) {
        Ok(_) => panic!("accepted {json}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_unsupported_setting_is_refused_by_name() {
    let cases: Vec<(Value, &str, Value, &str)> = vec![
        (small_byte_level(), "/model/type", json!("WordPiece"), "model.type: expected \"BPE\" or nothing, found \"WordPiece\""),
        (small_byte_level(), "/model/type", json!("Unigram"), "model.type: "),
        (small_byte_level(), "/model/dropout", json!(0.1), "model.dropout: "),
        (small_byte_level(), "/model/continuing_subword_prefix", json!("##"), "model.continuing_subword_prefix: "),
        (small_byte_level(), "/model/end_of_word_suffix", json!("</w>"), "model.end_of_word_suffix: "),
        (small_byte_level(), "/model/vocab", json!([]), "model.vocab: expected an object of ids"),
        (small_byte_level(), "/model/vocab/he", json!(7), "model.vocab.he: expected an id of its own"),
        (
            small_byte_level(),
            "/model/vocab/he",
            json!(300),
            "model.vocab.he: expected a token id below the model's vocabulary size 300, found 300",
        ),
        (small_byte_level(), "/model/vocab/he", json!(-1), "model.vocab.he: "),
        (small_byte_level(), "/model/merges", json!(["h e x"]), "model.merges[0]: expected two tokens"),
        (small_byte_level(), "/model/merges", json!([["h", "q"]]), "model.merges[0]: expected tokens of the vocabulary, found \"hq\""),
        (small_byte_level(), "/model/unk_token", json!("<none>"), "model.unk_token: "),
        (small_byte_level(), "/normalizer", json!({ "type": "Lowercase" }), "normalizer.type: expected \"NFC\", found \"Lowercase\""),
        (small_byte_level(), "/pre_tokenizer", json!({ "type": "Whitespace" }), "pre_tokenizer.type: "),
        (small_byte_level(), "/pre_tokenizer", Value::Null, "pre_tokenizer: "),
        (
            small_byte_level(),
            "/pre_tokenizer",
            json!({ "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": "\\p{Han}+" }, "behavior": "Isolated", "invert": false },
                { "type": "ByteLevel", "add_prefix_space": false, "use_regex": false }] }),
            "pre_tokenizer.pretokenizers[0].pattern.Regex: expected the pattern of GPT-2, Llama 3 or Qwen 2",
        ),
        (
            small_byte_level(),
            "/pre_tokenizer",
            json!({ "type": "Sequence", "pretokenizers": [{ "type": "Digits", "individual_digits": false }, { "type": "ByteLevel", "add_prefix_space": false }] }),
            "pre_tokenizer.pretokenizers[0].individual_digits: ",
        ),
        (small_byte_level(), "/post_processor", json!({ "type": "RobertaProcessing" }), "post_processor.type: "),
        (
            small_byte_level(),
            "/post_processor",
            json!({ "type": "TemplateProcessing", "single": [], "special_tokens": {} }),
            "post_processor.single: expected the text once",
        ),
        (small_byte_level(), "/decoder", json!({ "type": "WordPiece" }), "decoder.type: "),
        (small_byte_level(), "/decoder", Value::Null, "decoder: "),
        (small_byte_level(), "/added_tokens/0/single_word", json!(true), "added_tokens[0].single_word: "),
        (small_byte_level(), "/added_tokens/0/id", json!(5), "added_tokens[0].id: expected an id of its own"),
        (small_byte_level(), "/added_tokens/1/content", json!("<a>"), "added_tokens[1]: expected each added token once"),
        (small_byte_level(), "/added_tokens/1/content", json!("x".repeat(1025)), "added_tokens: expected a token of at most 1024 bytes"),
        (small_sentencepiece(), "/model/ignore_merges", json!(true), "model.ignore_merges: "),
        (small_sentencepiece(), "/normalizer", json!({ "type": "Precompiled" }), "normalizer.type: "),
        (small_sentencepiece(), "/normalizer/normalizers/0/prepend", json!("_"), "normalizer.normalizers[0].prepend: "),
        (small_sentencepiece(), "/normalizer", Value::Null, "pre_tokenizer: expected Metaspace"),
        (small_sentencepiece(), "/pre_tokenizer", json!({ "type": "Metaspace", "replacement": "_" }), "pre_tokenizer.replacement: "),
        (small_sentencepiece(), "/decoder/decoders/3/start", json!(2), "decoder.decoders[3].start: expected 1, found 2"),
        (small_sentencepiece(), "/decoder/decoders/1/type", json!("CTC"), "decoder.decoders[1].type: "),
        (small_sentencepiece(), "/model/merges", json!(["<0x41> <0x42>"]), "model.merges[0]: "),
        (small_sentencepiece(), "/added_tokens/0/content", json!("<0x41>"), "added_tokens[0].id: "),
    ];
    let mut wrong = Vec::new();
    for (mut json, path, value, expected) in cases {
        let (parent, name) = path.rsplit_once('/').unwrap();
        match json.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
            object => object[name] = value,
        }
        let got = refusal(&json);
        if !got.starts_with(&format!("tokenizer.json: {expected}")) {
            wrong.push(format!("{path}: {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn more_text_than_offsets_can_say_is_refused() {
    let mut json = small_sentencepiece();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    let mut total = 0;
    while total < 1 << 24 {
        let text = format!("{:a>1024}", vocab.len());
        total += text.len();
        vocab.insert(text, vocab.len().into());
    }
    let vocab_size = vocab.len() as u32;
    let error = compile(json.to_string().as_bytes(), None, None, vocab_size).unwrap_err().to_string();
    assert!(error.starts_with("tokenizer.json: model.vocab: expected tokens of at most 16777215 bytes together, found 1677"), "{error}");
}

#[test]
fn the_other_files_are_checked_too() {
    let json = small_byte_level().to_string();
    let with =
        |config: &str, generation: &str| compile(json.as_bytes(), Some(config.as_bytes()), Some(generation.as_bytes()), BYTE_LEVEL_SIZE);
    let good = with(r#"{"bos_token": "<a>", "eos_token": {"content": "<o>"}}"#, r#"{"eos_token_id": 3}"#).unwrap();
    let tokenizer = Tokenizer::parse(&good.section, BYTE_LEVEL_SIZE).unwrap();
    assert_eq!(tokenizer.bos(), tokenizer.token_id("<a>"));
    assert!(!tokenizer.adds_bos());
    assert_eq!(tokenizer.ends().collect::<Vec<_>>(), [TokenId(3), tokenizer.token_id("<o>").unwrap()]);
    assert_eq!((good.bos.as_deref(), good.eos.as_deref()), (Some("<a>"), Some("<o>")));
    let message = |config: &str, generation: &str| with(config, generation).unwrap_err().to_string();
    assert!(message("{}", r#"{"eos_token_id": 264}"#).starts_with("generation_config.json: eos_token_id: "));
    assert!(message("{}", r#"{"eos_token_id": [1, "x"]}"#).starts_with("generation_config.json: eos_token_id[1]: "));
    assert!(message(r#"{"eos_token": 3}"#, "{}").starts_with("tokenizer_config.json: eos_token: expected a token's text, found 3"));
    assert!(matches!(with("{", "{}"), Err(TokenizerCompileError::Json { file: "tokenizer_config.json", .. })));
}
