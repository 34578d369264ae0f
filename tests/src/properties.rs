//! What must hold for any bytes at all: the properties that random mutation and fuzzing assert.

use kinglet::format::{Container, FormatError, Section};
use kinglet::model::{Model, ModelError};
use kinglet::spec::Spec;
use kinglet::tokenizer::{DecodeOptions, Decoder, EncodeOptions, TokenId, Tokenizer, TokenizerError};

/// Parses `bytes` as a file; if that succeeds, every accessor must work and agree with the others. `bytes` should be
/// aligned to 4, so that a model can be bound.
///
/// # Errors
/// That of [`Container::parse`].
///
/// # Panics
/// If a property does not hold.
pub fn container(bytes: &[u8]) -> Result<(), FormatError> {
    let file = Container::parse(bytes)?;
    assert_eq!(file.layout().file_bytes(), bytes.len() as u64);
    let mut end = kinglet::format::HEADER_BYTES as u64;
    for section in Section::ALL {
        assert!(file.layout().offset(section) >= end, "{} overlaps", section.name());
        end = file.layout().offset(section) + file.layout().len(section);
        assert_eq!(file.section(section).len() as u64, file.layout().len(section));
    }
    assert_eq!(file.head_digest().len(), 32);
    for (key, value) in file.meta() {
        assert_eq!(file.meta_value(key), Some(value));
        assert!(!value.contains(char::is_control));
    }
    // A spec has one spelling.
    let mut again = vec![0; file.section(Section::Spec).len()];
    assert_eq!(file.spec().encode(&mut again), Ok(again.len()));
    assert_eq!(again, file.section(Section::Spec));
    assert_eq!(Spec::parse(&again).as_ref(), Ok(file.spec()));

    let mut data_end = 0;
    let mut before = None;
    for (index, (entry, tensor)) in file.entries().zip(file.spec().tensors()).enumerate() {
        assert_eq!(entry.tensor, tensor);
        assert!(before.is_none_or(|key| key < tensor.key), "{} after {before:?}", tensor.key);
        before = Some(tensor.key);
        assert_eq!((file.entry(index), file.find(tensor.key)), (entry, Some(entry)));
        assert!(entry.offset >= data_end && entry.offset % 64 == 0);
        data_end = entry.offset + file.tensor_bytes(&entry).len() as u64;
        let matrix = file.matrix(&entry);
        let mut row = vec![0.0; matrix.cols()];
        matrix.read_row(0, &mut row);
        matrix.read_row(matrix.rows() - 1, &mut row);
        assert_eq!(matrix.tile(matrix.tiles() - 1).is_empty(), matrix.bytes().is_empty());
    }
    assert_eq!((file.n_tensors(), data_end), (file.spec().tensors().count(), file.section(Section::Data).len() as u64));

    match Model::new(bytes) {
        Ok(model) => bound(&model),
        Err(ModelError::Spec(_) | ModelError::Misaligned) => {}
        Err(error) => panic!("the container is sound, and yet: {error}"),
    }
    let _ = Tokenizer::parse(file.section(Section::Tokenizer), file.spec().vocab);
    Ok(())
}

/// Every weight of a model that was accepted has the shape that its block needs.
fn bound(model: &Model<'_>) {
    let spec = model.spec();
    let hidden = spec.hidden as usize;
    assert_eq!((model.token_embedding().rows(), model.token_embedding().cols()), (spec.vocab as usize, hidden));
    assert_eq!((model.head().rows(), model.head().cols()), (spec.vocab as usize, hidden));
    for layer in 0..spec.stack().len() {
        let block = model.block(layer);
        assert_eq!((block.qkv.rows(), block.qkv.cols()), (block.spec.qkv_rows(), hidden));
        assert_eq!((block.out.rows(), block.out.cols()), (hidden, block.spec.q_dim()));
        assert_eq!((block.down.rows(), block.down.cols()), (hidden, block.spec.ffn_dim as usize));
        let rotary = model.rotary_frequencies(spec.stack().kind_of(layer)).len();
        assert_eq!(rotary, if block.spec.is_rotary() { block.spec.rotary_dim as usize / 2 } else { 0 });
    }
    let _ = model.bytes_per_token();
}

/// Parses `section` as a tokenizer of `vocab` ids; if that succeeds, `text` encodes to ids that exist, within the
/// stated bounds, and any ids decode to text.
///
/// # Errors
/// That of [`Tokenizer::parse`].
///
/// # Panics
/// If a property does not hold.
pub fn tokenizer(section: &[u8], vocab: u32, text: &str, ids: &[u32]) -> Result<(), TokenizerError> {
    let tokenizer = Tokenizer::parse(section, vocab)?;
    assert_eq!(tokenizer.vocab_size(), vocab);
    let special = [tokenizer.bos(), tokenizer.unknown()];
    for id in tokenizer.ends().chain(special.into_iter().flatten()) {
        assert!(id.0 < vocab);
    }
    for options in [EncodeOptions::default(), EncodeOptions { parse_special: true, ..EncodeOptions::default() }] {
        let mut scratch = vec![0; tokenizer.scratch_words(text.len())];
        let mut out = vec![TokenId(0); tokenizer.max_tokens(text.len())];
        let n = tokenizer.encode(text, &options, &mut scratch, &mut out).expect("buffers of the stated sizes");
        assert!(out[..n].iter().all(|id| id.0 < vocab), "{out:?}");
        decode(&tokenizer, out[..n].iter().copied());
    }
    // Ids that do not exist decode, too: to nothing.
    decode(&tokenizer, ids.iter().map(|&id| TokenId(id)));
    Ok(())
}

fn decode(tokenizer: &Tokenizer<'_>, ids: impl Iterator<Item = TokenId>) {
    let mut decoder = Decoder::new(tokenizer, DecodeOptions::default());
    let mut buffer = vec![0; decoder.buffer_bytes()];
    for id in ids {
        decoder.push(id, &mut buffer).expect("a buffer of the stated size");
    }
    decoder.finish(&mut buffer).expect("a buffer of the stated size");
}
