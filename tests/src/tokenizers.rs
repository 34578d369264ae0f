//! The smallest tokenizers that have every table, as `tokenizer.json`.

/// A byte-level tokenizer and its number of ids. 0 to 4 are the bytes a, b, c, d and a space, 5 to 7 are ab, cd and
/// abcd, then `<s>` and `<s>x`; 10 is unused.
#[must_use]
pub fn byte_level() -> (String, u32) {
    let json = r#"{
        "added_tokens": [
            {"id": 8, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 9, "content": "<s>x", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
        ],
        "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "\u0120": 4, "ab": 5, "cd": 6, "abcd": 7, "<s>": 8, "<s>x": 9},
            "merges": ["a b", "c d", "ab cd"]}
    }"#;
    (json.to_owned(), 11)
}

/// A SentencePiece-style tokenizer and its number of ids. 0 to 2 are control tokens, 3 to 258 the bytes, 259 a space,
/// 260 an a with an accent.
#[must_use]
pub fn sentencepiece() -> (String, u32) {
    let bytes: String = (0..256).map(|b| format!(r#""<0x{b:02X}>": {}, "#, b + 3)).collect();
    let added = |id: u32, text: &str| {
        format!(
            r#"{{"id": {id}, "content": "{text}", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}}"#
        )
    };
    let json = format!(
        r#"{{
        "added_tokens": [{}, {}, {}],
        "normalizer": {{"type": "Sequence", "normalizers": [
            {{"type": "Prepend", "prepend": "▁"}}, {{"type": "Replace", "pattern": {{"String": " "}}, "content": "▁"}}]}},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {{"type": "Sequence", "decoders": [
            {{"type": "Replace", "pattern": {{"String": "▁"}}, "content": " "}}, {{"type": "ByteFallback"}}, {{"type": "Fuse"}},
            {{"type": "Strip", "content": " ", "start": 1, "stop": 0}}]}},
        "model": {{"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": {{"<unk>": 0, "<s>": 1, "</s>": 2, {bytes}"▁": 259, "á": 260}}, "merges": []}}
    }}"#,
        added(0, "<unk>"),
        added(1, "<s>"),
        added(2, "</s>")
    );
    (json, 261)
}
