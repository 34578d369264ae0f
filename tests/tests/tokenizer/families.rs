//! A tokenizer of each supported family, trained by the reference library on generated text.

use std::collections::HashSet;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{PreTokenizer, TokenizerBuilder, Trainer};

use super::text::{Random, string, word};

/// A tokenizer and one of its control tokens.
#[derive(Clone)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) json: String,
    pub(crate) control: &'static str,
}

/// One more than the highest id.
pub(crate) fn vocab_size(reference: &tokenizers::Tokenizer) -> u32 {
    reference.get_vocab(true).values().max().map_or(0, |highest| highest + 1)
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn corpus() -> Vec<String> {
    let mut random = Random(1);
    let lexicon: Vec<String> = (0..1500).map(|_| word(&mut random)).collect();
    (0..1500)
        .map(|line| {
            if line % 3 == 0 {
                return string(&mut random);
            }
            let words: Vec<&str> =
                (0..12).map(|_| lexicon[random.below(lexicon.len()).min(random.below(lexicon.len()))].as_str()).collect();
            words.join(" ")
        })
        .collect()
}

/// Trains vocabulary and merges with a pre-tokenizer given as JSON; returns the model's JSON.
fn train(pre_tokenizer: Value, whole_alphabet: bool) -> Value {
    let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer).unwrap();
    let mut trainer = BpeTrainer::builder().show_progress(false).vocab_size(2500).min_frequency(2).build();
    if whole_alphabet {
        trainer.initial_alphabet = ByteLevel::alphabet();
    }
    let mut trainer: TrainerWrapper = trainer.into();
    trainer
        .feed(corpus().iter(), |line| {
            let mut pretokenized = tokenizers::PreTokenizedString::from(line);
            pre_tokenizer.pre_tokenize(&mut pretokenized)?;
            let splits = pretokenized.get_splits(tokenizers::OffsetReferential::Normalized, tokenizers::OffsetType::Byte);
            Ok(splits.into_iter().map(|(word, ..)| word.to_owned()).collect())
        })
        .unwrap();
    let mut model = tokenizers::ModelWrapper::BPE(BPE::default());
    trainer.train(&mut model).unwrap();
    let tokenizer: tokenizers::Tokenizer = TokenizerBuilder::<
        _,
        tokenizers::NormalizerWrapper,
        PreTokenizerWrapper,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    >::default()
    .with_model(model)
    .build()
    .unwrap()
    .into();
    serde_json::to_value(&tokenizer).unwrap()["model"].take()
}

/// Gives the tokens `first` the lowest ids and moves the others up.
fn renumber(model: &mut Value, first: &[String]) {
    let mut by_id: Vec<(u64, String)> =
        model["vocab"].as_object().unwrap().iter().map(|(text, id)| (id.as_u64().unwrap(), text.clone())).collect();
    by_id.sort();
    let mut vocab = Map::new();
    for text in first.iter().cloned().chain(by_id.into_iter().map(|(_, text)| text).filter(|text| !first.contains(text))) {
        let id = vocab.len();
        vocab.insert(text, id.into());
    }
    model["vocab"] = vocab.into();
}

/// Adds every other way to make each token of two, as files made from a SentencePiece model have them.
fn merge_every_way(model: &mut Value) {
    let vocab = model["vocab"].as_object().unwrap();
    let mut merges = model["merges"].as_array().unwrap().clone();
    let known: HashSet<String> = merges.iter().map(Value::to_string).collect();
    for text in vocab.keys() {
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            let merge = json!([left, right]);
            if vocab.contains_key(left) && vocab.contains_key(right) && !known.contains(&merge.to_string()) {
                merges.push(merge);
            }
        }
    }
    model["merges"] = merges.into();
}

fn added(model: &Value, tokens: &[(&str, bool, &str)]) -> Value {
    let mut next = model["vocab"].as_object().unwrap().len();
    let tokens: Vec<Value> = tokens
        .iter()
        .map(|(text, special, flags)| {
            let id = model["vocab"].get(text).cloned().unwrap_or_else(|| {
                next += 1;
                (next - 1).into()
            });
            json!({
                "id": id, "content": text, "special": special, "single_word": false,
                "lstrip": flags.contains('l'), "rstrip": flags.contains('r'), "normalized": flags.contains('n'),
            })
        })
        .collect();
    tokens.into()
}

/// Control tokens, overlapping ones, ones that strip, and plain added ones.
const TOKENS: &[(&str, bool, &str)] = &[
    ("<|im_start|>", true, ""),
    ("<|im_end|>", true, ""),
    ("<|im", false, ""),
    ("<|end|>", true, "n"),
    ("<mask>", true, "lr"),
    ("<tool_call>", false, ""),
    ("two words", false, "n"),
    ("  ", false, "n"),
];

fn file(model: Value, tokens: &[(&str, bool, &str)], parts: [Value; 4]) -> String {
    let [normalizer, pre_tokenizer, post_processor, decoder] = parts;
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(&model, tokens),
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
    })
    .to_string()
}

fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex })
}

fn split(pattern: &str) -> Value {
    let split = json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    json!({ "type": "Sequence", "pretokenizers": [split, byte_level(false, false)] })
}

fn around(before: &str, after: Option<&str>, id: impl Fn(&str) -> u64) -> Value {
    let piece = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let mut single = vec![piece(before), json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    single.extend(after.map(piece));
    let mut special = Map::new();
    for token in [Some(before), after].into_iter().flatten() {
        special.insert(token.to_owned(), json!({ "id": token, "ids": [id(token)], "tokens": [token] }));
    }
    json!({ "type": "TemplateProcessing", "single": single, "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }], "special_tokens": special })
}

/// A byte-level tokenizer of 256 tokens and no merges.
pub(crate) fn bytes_only(normalizer: Option<&str>) -> String {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocab: Map<String, Value> = alphabet.iter().enumerate().map(|(id, c)| (c.to_string(), id.into())).collect();
    let model = json!({ "type": "BPE", "vocab": vocab, "merges": [] });
    let normalizer = normalizer.map_or(Value::Null, |name| json!({ "type": name }));
    file(model, &[], [normalizer, byte_level(false, true), Value::Null, byte_level(false, true)])
}

/// All families; trained once.
pub(crate) fn families() -> Vec<Family> {
    static FAMILIES: OnceLock<Vec<Family>> = OnceLock::new();
    FAMILIES.get_or_init(build).clone()
}

fn build() -> Vec<Family> {
    let gpt2 = train(byte_level(false, true), true);
    let digits = json!({ "type": "Sequence", "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level(false, true)] });
    // Without the whole alphabet some bytes have no token, as in SmolLM2's vocabulary.
    let smollm = train(digits.clone(), false);
    let mut llama3 = train(split(LLAMA3), true);
    llama3["ignore_merges"] = true.into();
    // Whole words without merges are reached only when merges are ignored.
    let merges = llama3["merges"].as_array_mut().unwrap();
    merges.truncate(merges.len() * 3 / 4);
    let qwen2 = train(split(QWEN2), true);
    let llama3_id = |model: &Value, token: &str| {
        let at = TOKENS.iter().filter(|(text, ..)| model["vocab"].get(text).is_none()).position(|(text, ..)| *text == token).unwrap();
        model["vocab"].as_object().unwrap().len() as u64 + at as u64
    };
    let llama3_around = around("<|im_start|>", None, |token| llama3_id(&llama3, token));
    let gpt2_around = around("<|im_start|>", Some("<|im_end|>"), |token| llama3_id(&gpt2, token));

    let metaspace =
        |scheme: &str, split: bool| json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split });
    let sentencepiece = train(metaspace("always", true), false);
    let special: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let bytes: Vec<String> = (0..256).map(|byte| format!("<{byte:#04X}>")).collect();
    let mut llama2 = sentencepiece.clone();
    merge_every_way(&mut llama2);
    renumber(&mut llama2, &[special.clone(), bytes].concat());
    llama2["byte_fallback"] = true.into();
    llama2["fuse_unk"] = true.into();
    llama2["unk_token"] = "<unk>".into();
    let mut unknown = sentencepiece;
    renumber(&mut unknown, &special);
    unknown["unk_token"] = "<unk>".into();
    let mut fused = unknown.clone();
    fused["fuse_unk"] = true.into();
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let prepend = json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace.clone()] });
    let decoder = |strip: bool| {
        let mut steps = vec![
            json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if strip {
            steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        json!({ "type": "Sequence", "decoders": steps })
    };
    let sentencepiece_tokens: Vec<(&str, bool, &str)> =
        [("<unk>", true, ""), ("<s>", true, "n"), ("</s>", true, "")].into_iter().chain(TOKENS[..6].iter().copied()).collect();
    // The Metaspace decoder's spaces in added tokens are refused, and the two last of the list have some.
    let no_bytes: Vec<(&str, bool, &str)> = sentencepiece_tokens.clone();
    let spaced: Vec<(&str, bool, &str)> = sentencepiece_tokens.iter().copied().chain([("two words", false, "n")]).collect();
    let bos = around("<s>", None, |_| 1);

    let null = Value::Null;
    let plain = byte_level(false, true);
    vec![
        Family {
            name: "gpt-2",
            json: file(gpt2.clone(), TOKENS, [null.clone(), plain.clone(), plain.clone(), plain.clone()]),
            control: "<|im_end|>",
        },
        Family {
            name: "gpt-2 with a leading space",
            json: file(gpt2.clone(), TOKENS, [null.clone(), byte_level(true, true), gpt2_around, plain.clone()]),
            control: "<|im_end|>",
        },
        Family {
            name: "byte-level without words",
            json: file(gpt2, TOKENS, [null.clone(), byte_level(false, false), null.clone(), plain.clone()]),
            control: "<|im_end|>",
        },
        Family { name: "smollm2", json: file(smollm, TOKENS, [null.clone(), digits, null.clone(), plain.clone()]), control: "<|im_end|>" },
        Family {
            name: "llama-3",
            json: file(
                llama3,
                TOKENS,
                [null.clone(), split(LLAMA3), json!({ "type": "Sequence", "processors": [plain.clone(), llama3_around] }), plain.clone()],
            ),
            control: "<|im_start|>",
        },
        Family {
            name: "qwen-2",
            json: file(qwen2, TOKENS, [json!({ "type": "NFC" }), split(QWEN2), plain.clone(), plain]),
            control: "<|im_end|>",
        },
        Family {
            name: "llama-2",
            json: file(llama2.clone(), &spaced, [prepend, null.clone(), bos.clone(), decoder(true)]),
            control: "</s>",
        },
        Family {
            name: "mistral",
            json: file(llama2.clone(), &spaced, [null.clone(), metaspace("first", false), bos.clone(), decoder(true)]),
            control: "</s>",
        },
        Family {
            name: "sentencepiece with spaces replaced only",
            json: file(llama2, &spaced, [replace, null.clone(), bos.clone(), decoder(false)]),
            control: "</s>",
        },
        Family {
            name: "metaspace words",
            json: file(unknown, &no_bytes, [null.clone(), metaspace("always", true), bos, metaspace("always", true)]),
            control: "</s>",
        },
        Family {
            name: "metaspace words, unknowns fused",
            json: file(fused, &no_bytes, [null.clone(), metaspace("never", true), null, metaspace("never", true)]),
            control: "</s>",
        },
    ]
}

/// Bytes, three merges and four added tokens: small enough to be broken by hand.
pub(crate) fn small_byte_level() -> Value {
    let mut json: Value = serde_json::from_str(&bytes_only(None)).unwrap();
    for token in ["he", "el", "hel"] {
        let id = json["model"]["vocab"].as_object().unwrap().len();
        json["model"]["vocab"][token] = id.into();
    }
    json["model"]["merges"] = json!([["h", "e"], ["e", "l"], ["he", "l"]]);
    json["added_tokens"] = added(&json["model"], &[("<a>", true, ""), ("<a>b", false, "l"), ("<n>", false, "n"), ("<o>", true, "n")]);
    json
}

/// A few characters, one merge and all byte tokens.
pub(crate) fn small_sentencepiece() -> Value {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<{byte:#04X}>")));
    tokens.extend(["▁", "a", "é", "▁a"].map(str::to_owned));
    let vocab: Map<String, Value> = tokens.iter().enumerate().map(|(id, text)| (text.clone(), id.into())).collect();
    let model = json!({ "type": "BPE", "vocab": vocab, "merges": ["▁ a"], "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true });
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let normalizer = json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace(" ", "▁")] });
    let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
    let decoder = json!({ "type": "Sequence", "decoders": [replace("▁", " "), { "type": "ByteFallback" }, { "type": "Fuse" }, strip] });
    let file = file(
        model,
        &[("<unk>", true, ""), ("<s>", true, ""), ("</s>", true, "")],
        [normalizer, Value::Null, around("<s>", None, |_| 1), decoder],
    );
    serde_json::from_str(&file).unwrap()
}
