//! Vocabulary, merges and added tokens as the tables of the section.

use std::collections::{BTreeMap, HashMap};

use kinglet::tokenizer::section::{ADDED_LSTRIP, ADDED_RSTRIP, DecoderKind, Kind, MAX_TOKEN_BYTES, MAX_TRIPLE, ModelKind, Normalizer};
use serde_json::{Value, json};

use super::TokenizerCompileError;
use super::field::Field;
use super::pipeline::{LOWER_BLOCK, Pipeline};

type Result<T> = core::result::Result<T, TokenizerCompileError>;

/// One entry of the merge table, and the token whose merges it is among.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Merge {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) rank: u32,
}

/// An added token as it is looked for.
#[derive(Clone, Debug)]
pub(super) struct Added {
    pub(super) text: String,
    pub(super) id: u32,
    pub(super) flags: u32,
}

/// The tables, indexed by id where that applies.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// What each token decodes to.
    pub(super) text: Vec<Vec<u8>>,
    pub(super) kinds: Vec<Kind>,
    pub(super) byte_tokens: Vec<Option<u32>>,
    pub(super) merges: Vec<Merge>,
    /// What the merge of each rank makes.
    pub(super) results: Vec<u32>,
    pub(super) index: Vec<u32>,
    pub(super) raw_added: Vec<Added>,
    pub(super) normalized_added: Vec<Added>,
    pub(super) unknown: Option<u32>,
    pub(super) ignore_merges: bool,
    pub(super) fuse_unknown: bool,
    pub(super) notes: Vec<String>,
    /// As the files spell them.
    ids: HashMap<String, u32>,
    spellings: HashMap<u32, String>,
}

/// An added token as the file says it.
struct AddedField<'v> {
    text: &'v str,
    id: u32,
    special: bool,
    normalized: bool,
    flags: u32,
}

impl Vocabulary {
    pub(super) fn read(root: &Field<'_>, pipeline: &Pipeline, vocab_size: u32) -> Result<Self> {
        let model = root.get("model");
        for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
            model.get(name).must_be(&[Value::Null, json!("")])?;
        }
        model.get("dropout").must_be(&[Value::Null, json!(0.0), json!(0)])?;
        let mut spelled: BTreeMap<u32, &str> = BTreeMap::new();
        let vocab = model.get("vocab");
        let Value::Object(entries) = vocab.value else {
            return Err(vocab.unexpected("an object of ids"));
        };
        for text in entries.keys() {
            let field = vocab.get(text);
            let id = field.id(vocab_size)?;
            if let Some(other) = spelled.insert(id, text) {
                return Err(field.error("an id of its own", format!("{id}, which is also {other:?}")));
            }
        }
        let added = added_tokens(&root.get("added_tokens"), vocab_size, &model, &spelled)?;

        let byte_level = pipeline.model == ModelKind::ByteLevel;
        let mut this = Self {
            text: vec![Vec::new(); vocab_size as usize],
            kinds: vec![Kind::Unused; vocab_size as usize],
            byte_tokens: vec![None; 256],
            merges: Vec::new(),
            results: Vec::new(),
            index: Vec::new(),
            raw_added: Vec::new(),
            normalized_added: Vec::new(),
            unknown: None,
            ignore_merges: model.get("ignore_merges").flag(false)?,
            fuse_unknown: model.get("fuse_unk").flag(false)?,
            // They shape batches; a text is encoded whole.
            notes: ["truncation", "padding"]
                .into_iter()
                .filter(|name| !root.get(name).is_null())
                .map(|name| format!("{name} is left out"))
                .collect(),
            ids: spelled.iter().map(|(id, text)| ((*text).to_owned(), *id)).collect(),
            spellings: spelled.iter().map(|(id, text)| (*id, (*text).to_owned())).collect(),
        };
        if this.ignore_merges && !byte_level {
            return Err(model.get("ignore_merges").unexpected("false in a SentencePiece tokenizer"));
        }

        let alphabet = byte_alphabet();
        // Tokens that the model can reach by spelling, and so may be looked up and merged.
        let mut spellable = vec![false; vocab_size as usize];
        for (&id, &text) in &spelled {
            let field = vocab.get(text);
            if text.is_empty() {
                return Err(field.error("a text", "an empty token"));
            }
            let (bytes, kind);
            if byte_level {
                let mapped: Option<Vec<u8>> = text.chars().map(|c| alphabet.get(&c).copied()).collect();
                spellable[id as usize] = mapped.is_some();
                bytes = mapped.unwrap_or_else(|| text.as_bytes().to_vec());
                kind = Kind::Normal;
            } else if let Some(byte) = byte_spelling(text).filter(|_| pipeline.decodes_bytes) {
                bytes = vec![byte];
                kind = Kind::Byte;
            } else {
                // The runtime writes a space for U+2581; a token with a space of its own cannot be spelled by normalised text.
                spellable[id as usize] = !text.contains(' ');
                bytes = text.replace(LOWER_BLOCK, " ").into_bytes();
                kind = Kind::Normal;
            }
            if bytes.len() > MAX_TOKEN_BYTES {
                return Err(field.error(&format!("a token of at most {MAX_TOKEN_BYTES} bytes"), format!("{} bytes", bytes.len())));
            }
            this.text[id as usize] = bytes;
            this.kinds[id as usize] = kind;
        }
        for token in &added {
            this.add(token, pipeline, &alphabet, &root.get("added_tokens"))?;
        }
        let text_bytes: usize = this.text.iter().map(Vec::len).sum();
        if text_bytes > MAX_TRIPLE as usize {
            return Err(vocab.error(&format!("tokens of at most {MAX_TRIPLE} bytes together"), format!("{text_bytes} bytes")));
        }

        this.read_bytes(&model, byte_level)?;
        let unknown = model.get("unk_token");
        if !unknown.is_null() {
            let text = unknown.string()?;
            this.unknown = Some(this.id_of(text).ok_or_else(|| unknown.unexpected("a token of the vocabulary"))?);
        }
        for (id, spellable) in spellable.iter_mut().enumerate() {
            *spellable &= matches!(this.kinds[id], Kind::Normal | Kind::Added);
        }
        this.index = (0..vocab_size).filter(|&id| spellable[id as usize]).collect();
        let text = &this.text;
        this.index.sort_unstable_by(|a, b| text[*a as usize].cmp(&text[*b as usize]));
        if !byte_level && !this.index.iter().any(|&id| this.text[id as usize] == b" ") {
            return Err(vocab.error(&format!("a token {LOWER_BLOCK:?}"), "none"));
        }
        this.read_merges(&model.get("merges"), &spellable)?;
        Ok(this)
    }

    pub(super) fn id_of(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    pub(super) fn text_of(&self, id: u32) -> String {
        self.spellings.get(&id).cloned().unwrap_or_default()
    }

    fn add(&mut self, token: &AddedField<'_>, pipeline: &Pipeline, alphabet: &HashMap<char, u8>, list: &Field<'_>) -> Result<()> {
        let refuse = |expected: &str| Err(list.error(expected, format!("{:?}", token.text)));
        let id = token.id as usize;
        let byte_level = pipeline.model == ModelKind::ByteLevel;
        let bytes = if byte_level {
            let mapped: Option<Vec<u8>> = token.text.chars().map(|c| alphabet.get(&c).copied()).collect();
            mapped.unwrap_or_else(|| token.text.as_bytes().to_vec())
        } else {
            token.text.replace(LOWER_BLOCK, " ").into_bytes()
        };
        if token.text.len() > MAX_TOKEN_BYTES || bytes.len() > MAX_TOKEN_BYTES {
            return refuse(&format!("a token of at most {MAX_TOKEN_BYTES} bytes"));
        }
        if self.kinds[id] == Kind::Byte || (pipeline.decodes_bytes && byte_spelling(token.text).is_some()) {
            return refuse("no added token that is a byte's");
        }
        if pipeline.decoder == DecoderKind::FirstTokenStrip && token.text.contains(' ') {
            return refuse("no space in an added token under the Metaspace decoder");
        }
        self.text[id] = bytes;
        self.kinds[id] = if token.special { Kind::Control } else { Kind::Added };
        self.ids.insert(token.text.to_owned(), token.id);
        self.spellings.insert(token.id, token.text.to_owned());

        let mut text = token.text.to_owned();
        if token.normalized {
            match pipeline.normalizer {
                Normalizer::None => {}
                // Form C leaves ASCII alone; for other text the tables would be needed here.
                Normalizer::Nfc if text.is_ascii() => {}
                Normalizer::Nfc => return refuse("an ASCII text where \"normalized\" is true"),
                Normalizer::Spaces => text = text.replace(LOWER_BLOCK, " "),
                Normalizer::PrependSpaces => text = format!(" {}", text.replace(LOWER_BLOCK, " ")),
            }
        }
        let table = if token.normalized { &mut self.normalized_added } else { &mut self.raw_added };
        match table.binary_search_by(|other| other.text.cmp(&text)) {
            Ok(_) => return refuse("a text that no other added token has"),
            Err(at) => table.insert(at, Added { text, id: token.id, flags: token.flags }),
        }
        Ok(())
    }

    /// The tokens of single bytes: by spelling in a byte-level vocabulary, as `<0x..>` in others.
    fn read_bytes(&mut self, model: &Field<'_>, byte_level: bool) -> Result<()> {
        let fallback = model.get("byte_fallback");
        let uses_fallback = fallback.flag(false)?;
        if byte_level {
            for (character, byte) in byte_alphabet() {
                let id = self.ids.get(character.encode_utf8(&mut [0; 4]) as &str).copied();
                self.byte_tokens[usize::from(byte)] = id.filter(|id| self.kinds[*id as usize] == Kind::Normal);
            }
            let missing: Vec<String> =
                (0_u8..=255).filter(|byte| self.byte_tokens[usize::from(*byte)].is_none()).map(|byte| format!("{byte:#04x}")).collect();
            if !missing.is_empty() {
                if uses_fallback {
                    return Err(fallback.unexpected("false in a byte-level tokenizer whose alphabet is not complete"));
                }
                self.notes.push(format!(
                    "the vocabulary has no token for {} of 256 bytes; text loses them: {}",
                    missing.len(),
                    missing.join(" ")
                ));
            }
        } else if uses_fallback {
            let mut missing = 0;
            for byte in 0..=255_u8 {
                let id = self.id_of(&format!("<{byte:#04X}>"));
                match id.map(|id| self.kinds[id as usize]) {
                    None => missing += 1,
                    Some(Kind::Byte) => {}
                    Some(_) => {
                        return Err(fallback.error("a ByteFallback decoder", "byte tokens without one"));
                    }
                }
                self.byte_tokens[usize::from(byte)] = id;
            }
            if missing > 0 {
                self.notes.push(format!("the vocabulary has no token for {missing} of 256 bytes; some characters become unknown"));
            }
        }
        Ok(())
    }

    /// Merges that spelled text can reach, ranks closed up. A later merge of the same pair replaces an earlier one.
    fn read_merges(&mut self, list: &Field<'_>, spellable: &[bool]) -> Result<()> {
        let mut by_pair: HashMap<(u32, u32), (usize, u32)> = HashMap::new();
        let mut unreachable = 0;
        for (rank, field) in list.items()?.into_iter().enumerate() {
            let (left, right) = match field.value {
                Value::String(both) => both.split_once(' ').filter(|(_, right)| !right.contains(' ')),
                Value::Array(sides) => match &sides[..] {
                    [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                    _ => None,
                },
                _ => None,
            }
            .ok_or_else(|| field.unexpected("two tokens"))?;
            let result = format!("{left}{right}");
            let find = |text: &str| self.ids.get(text).copied().ok_or_else(|| field.error("tokens of the vocabulary", format!("{text:?}")));
            let (left, right, result) = (find(left)?, find(right)?, find(&result)?);
            let bytes = [left, right].iter().any(|id| self.kinds[*id as usize] == Kind::Byte);
            if bytes || self.kinds[result as usize] == Kind::Byte {
                return Err(field.unexpected("no byte tokens in merges"));
            }
            if [left, right, result].iter().all(|id| spellable[*id as usize]) {
                by_pair.insert((left, right), (rank, result));
            } else {
                unreachable += 1;
            }
        }
        if unreachable > 0 {
            self.notes.push(format!("{unreachable} merges left out: they make control tokens, or no text can reach them"));
        }
        if by_pair.len() > MAX_TRIPLE as usize {
            return Err(list.error(&format!("at most {MAX_TRIPLE} merges"), by_pair.len().to_string()));
        }
        let mut ordered: Vec<((u32, u32), (usize, u32))> = by_pair.into_iter().collect();
        ordered.sort_unstable_by_key(|&(_, (rank, _))| rank);
        self.results = ordered.iter().map(|&(_, (_, result))| result).collect();
        self.merges = ordered.into_iter().zip(0..).map(|(((left, right), _), rank)| Merge { left, right, rank }).collect();
        self.merges.sort_unstable();
        Ok(())
    }
}

fn added_tokens<'v>(list: &Field<'v>, vocab_size: u32, model: &Field<'v>, spelled: &BTreeMap<u32, &str>) -> Result<Vec<AddedField<'v>>> {
    if list.is_null() {
        return Ok(Vec::new());
    }
    let mut tokens = Vec::new();
    for field in list.items()? {
        let content = field.get("content");
        let text = content.string()?;
        if text.is_empty() {
            // The reference ignores it.
            continue;
        }
        let id_field = field.get("id");
        let id = id_field.id(vocab_size)?;
        let in_model = model.get("vocab").get(text);
        if in_model.value.as_u64().is_some_and(|own| own != u64::from(id)) {
            return Err(id_field.unexpected(&format!("the vocabulary's {} for {text:?}", in_model.value)));
        }
        if let Some(other) = spelled.get(&id).filter(|other| **other != text) {
            return Err(id_field.error("an id of its own", format!("{id}, which is {other:?} in the vocabulary")));
        }
        field.get("single_word").must_be(&[json!(false), Value::Null])?;
        let special = field.get("special").flag(false)?;
        let mut flags = 0;
        if field.get("lstrip").flag(false)? {
            flags |= ADDED_LSTRIP;
        }
        if field.get("rstrip").flag(false)? {
            flags |= ADDED_RSTRIP;
        }
        if tokens.iter().any(|token: &AddedField<'_>| token.id == id || token.text == text) {
            return Err(field.unexpected("each added token once"));
        }
        tokens.push(AddedField { text, id, special, normalized: field.get("normalized").flag(!special)?, flags });
    }
    Ok(tokens)
}

/// The character that byte-level vocabularies write for each byte: itself if it is printable Latin-1, else the next of those from U+0100 on.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut alphabet = HashMap::new();
    let mut next = 0x100;
    for byte in 0..=255_u8 {
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let code = if printable {
            u32::from(byte)
        } else {
            next += 1;
            next - 1
        };
        alphabet.insert(char::from_u32(code).unwrap_or_default(), byte);
    }
    alphabet
}

/// The byte that a token spelled `<0x..>` decodes to.
fn byte_spelling(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}
