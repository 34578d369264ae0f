//! Normaliser, pre-tokenizer, post-processor and decoder: which of the runtime's options they amount to.

use kinglet::tokenizer::section::{DecoderKind, Lead, ModelKind, Normalizer, Split};
use serde_json::{Value, json};

use super::TokenizerCompileError;
use super::field::Field;
use super::vocabulary::Vocabulary;

type Result<T> = core::result::Result<T, TokenizerCompileError>;

/// What SentencePiece vocabularies write for a space.
pub(super) const LOWER_BLOCK: &str = "\u{2581}";

/// The pattern of Llama 3, with its number of digits left open.
const LLAMA3: [&str; 2] =
    [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"];
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The options that the four parts amount to together.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) model: ModelKind,
    pub(super) normalizer: Normalizer,
    pub(super) split: Split,
    pub(super) max_digits: u8,
    pub(super) lead: Lead,
    pub(super) isolate_digits: bool,
    pub(super) decoder: DecoderKind,
    /// Whether tokens spelled `<0x..>` are decoded to bytes.
    pub(super) decodes_bytes: bool,
}

impl Pipeline {
    pub(super) fn read(root: &Field<'_>) -> Result<Self> {
        let decoder = root.get("decoder");
        let byte_level = decoder.kind()? == "ByteLevel";
        let mut pipeline = Self {
            model: if byte_level { ModelKind::ByteLevel } else { ModelKind::SentencePiece },
            normalizer: Normalizer::None,
            split: Split::None,
            max_digits: 0,
            lead: Lead::Never,
            isolate_digits: false,
            decoder: DecoderKind::ByteLevel,
            decodes_bytes: false,
        };
        if byte_level {
            pipeline.normalizer = byte_level_normalizer(&root.get("normalizer"))?;
            pipeline.byte_level_words(&root.get("pre_tokenizer"))?;
        } else {
            pipeline.sentencepiece_decoder(&decoder)?;
            pipeline.normalizer = sentencepiece_normalizer(&root.get("normalizer"))?;
            pipeline.sentencepiece_words(&root.get("pre_tokenizer"))?;
        }
        Ok(pipeline)
    }

    fn byte_level_words(&mut self, field: &Field<'_>) -> Result<()> {
        let steps = sequence(field, "pretokenizers")?;
        let Some((last, before)) = steps.split_last() else {
            return Err(field.unexpected("ByteLevel"));
        };
        last.get("type").must_be(&[json!("ByteLevel")])?;
        if last.get("add_prefix_space").flag(true)? {
            self.lead = Lead::Pieces;
        }
        let use_regex = last.get("use_regex").flag(true)?;
        if use_regex {
            self.split = Split::Gpt2;
        }
        match before {
            [] => {}
            [step] if step.kind()? == "Digits" => {
                step.get("individual_digits").must_be(&[json!(true)])?;
                self.isolate_digits = true;
            }
            [step] if step.kind()? == "Split" => {
                last.get("use_regex").must_be(&[json!(false)])?;
                if self.lead != Lead::Never {
                    return Err(last.get("add_prefix_space").unexpected("false after Split"));
                }
                step.get("behavior").must_be(&[json!("Isolated")])?;
                step.get("invert").must_be(&[json!(false), Value::Null])?;
                let field = step.get("pattern").get("Regex");
                let pattern = field.string()?;
                let digits = pattern.strip_prefix(LLAMA3[0]).and_then(|rest| rest.strip_suffix(LLAMA3[1]));
                (self.split, self.max_digits) = match digits {
                    Some(r"\p{N}{1,3}") => (Split::Llama3, 3),
                    Some(r"\p{N}") => (Split::Llama3, 1),
                    _ if pattern == GPT2 => (Split::Gpt2, 0),
                    _ => return Err(field.unexpected("the pattern of GPT-2, Llama 3 or Qwen 2")),
                };
            }
            [step, ..] => return Err(step.unexpected("Digits or Split, once, before ByteLevel")),
        }
        Ok(())
    }

    fn sentencepiece_words(&mut self, field: &Field<'_>) -> Result<()> {
        if field.is_null() {
            if self.normalizer == Normalizer::None {
                return Err(field.unexpected("Metaspace, or a normalizer that replaces spaces"));
            }
            return Ok(());
        }
        field.get("type").must_be(&[json!("Metaspace")])?;
        field.get("replacement").must_be(&[json!(LOWER_BLOCK)])?;
        let old = field.get("add_prefix_space");
        let scheme = field.get("prepend_scheme");
        self.lead = match scheme.value.as_str() {
            None if scheme.is_null() => Lead::Pieces,
            Some("always") => Lead::Pieces,
            Some("first") => Lead::Start,
            Some("never") => Lead::Never,
            _ => return Err(scheme.unexpected("always, first or never")),
        };
        if !old.flag(true)? && self.lead != Lead::Never {
            return Err(old.unexpected("true, as prepend_scheme says"));
        }
        if field.get("split").flag(true)? {
            self.split = Split::Space;
        }
        Ok(())
    }

    fn sentencepiece_decoder(&mut self, field: &Field<'_>) -> Result<()> {
        match field.kind()? {
            "Metaspace" => {
                field.get("replacement").must_be(&[json!(LOWER_BLOCK)])?;
                let never = field.get("prepend_scheme").value == &json!("never");
                self.decoder = if never { DecoderKind::ByteRuns } else { DecoderKind::FirstTokenStrip };
            }
            "Sequence" => {
                let steps = field.get("decoders").items()?;
                let [replace, byte_fallback, fuse, strip @ ..] = &steps[..] else {
                    return Err(field.get("decoders").unexpected("Replace, ByteFallback, Fuse and at most one Strip"));
                };
                replace_step(replace, LOWER_BLOCK, " ")?;
                byte_fallback.get("type").must_be(&[json!("ByteFallback")])?;
                fuse.get("type").must_be(&[json!("Fuse")])?;
                self.decodes_bytes = true;
                self.decoder = match strip {
                    [] => DecoderKind::ByteRuns,
                    [strip] => {
                        strip.get("type").must_be(&[json!("Strip")])?;
                        strip.get("content").must_be(&[json!(" ")])?;
                        strip.get("start").must_be(&[json!(1)])?;
                        strip.get("stop").must_be(&[json!(0)])?;
                        DecoderKind::ByteRunsStrip
                    }
                    [_, extra, ..] => return Err(extra.unexpected("nothing after Strip")),
                };
            }
            "null" => return Err(field.unexpected("ByteLevel, Metaspace or Sequence")),
            _ => {
                return Err(field.get("type").unexpected("\"ByteLevel\", \"Metaspace\" or \"Sequence\""));
            }
        }
        Ok(())
    }
}

/// The steps of a `Sequence`, or the one step that is there, or none.
fn sequence<'v>(field: &Field<'v>, name: &str) -> Result<Vec<Field<'v>>> {
    match field.kind()? {
        "null" => Ok(Vec::new()),
        "Sequence" => field.get(name).items(),
        _ => Ok(vec![field.clone()]),
    }
}

fn byte_level_normalizer(field: &Field<'_>) -> Result<Normalizer> {
    match &sequence(field, "normalizers")?[..] {
        [] => Ok(Normalizer::None),
        [step] => {
            step.get("type").must_be(&[json!("NFC")])?;
            Ok(Normalizer::Nfc)
        }
        [_, extra, ..] => Err(extra.unexpected("no second normalizer")),
    }
}

fn sentencepiece_normalizer(field: &Field<'_>) -> Result<Normalizer> {
    match &sequence(field, "normalizers")?[..] {
        [] => Ok(Normalizer::None),
        [replace] => {
            replace_step(replace, " ", LOWER_BLOCK)?;
            Ok(Normalizer::Spaces)
        }
        [prepend, replace] => {
            prepend.get("type").must_be(&[json!("Prepend")])?;
            prepend.get("prepend").must_be(&[json!(LOWER_BLOCK)])?;
            replace_step(replace, " ", LOWER_BLOCK)?;
            Ok(Normalizer::PrependSpaces)
        }
        [_, _, extra, ..] => Err(extra.unexpected("no third normalizer")),
    }
}

fn replace_step(field: &Field<'_>, from: &str, to: &str) -> Result<()> {
    field.get("type").must_be(&[json!("Replace")])?;
    field.get("pattern").must_be(&[json!({ "String": from })])?;
    field.get("content").must_be(&[json!(to)])
}

/// The tokens put before and after a text.
pub(super) fn template(field: &Field<'_>, vocabulary: &Vocabulary) -> Result<(Option<u32>, Option<u32>)> {
    let mut around = (None, None);
    for step in sequence(field, "processors")? {
        match step.kind()? {
            // It changes offsets only.
            "ByteLevel" => {}
            "TemplateProcessing" => around = single(&step, vocabulary)?,
            _ => {
                return Err(step.get("type").unexpected("\"ByteLevel\" or \"TemplateProcessing\""));
            }
        }
    }
    Ok(around)
}

/// `single` of a template: at most one token on each side of the text.
fn single(step: &Field<'_>, vocabulary: &Vocabulary) -> Result<(Option<u32>, Option<u32>)> {
    let (mut before, mut after, mut texts) = (None, None, 0);
    let pieces = step.get("single");
    for piece in pieces.items()? {
        let special = piece.get("SpecialToken");
        if special.is_null() {
            piece.get("Sequence").get("id").must_be(&[json!("A")])?;
            texts += 1;
            continue;
        }
        let name = special.get("id").string()?;
        let ids = step.get("special_tokens").get(name).get("ids");
        let [id] = &ids.items()?[..] else {
            return Err(ids.unexpected("one id"));
        };
        let id = id.id(vocabulary.text.len() as u32)?;
        let place = if texts == 0 { &mut before } else { &mut after };
        if place.replace(id).is_some() {
            return Err(pieces.unexpected("at most one token before and one after the text"));
        }
    }
    if texts == 1 { Ok((before, after)) } else { Err(pieces.unexpected("the text once")) }
}
