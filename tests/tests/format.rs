//! The `.kgl` file: its page against its reader, every way in which a file can be malformed, and random damage.

#[path = "format/malformed.rs"]
mod malformed;
#[path = "format/reader.rs"]
mod reader;

use kinglet::format::{Container, FormatError, Section};
use kinglet::spec::{Activation, AttnPositions, BlockSpec, Ffn, Head, Norm, Positions, Spec, SpecError};
use kinglet_quant::DType;
use kinglet_tests::properties;
use kinglet_tests::synthetic::{self, FileBytes};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Specs that between them have every tensor.
fn specs() -> Vec<(&'static str, Spec<'static>)> {
    let llama = BlockSpec { ffn_dim: 40, ..BlockSpec::default() };
    let window = BlockSpec { window: 16, rotary_dim: 16, qkv_bias: true, ..llama };
    let gpt2 = BlockSpec {
        norm: Norm::Layer,
        positions: AttnPositions::None,
        rotary_dim: 0,
        ffn: Ffn::Plain,
        activation: Activation::GeluTanh,
        qkv_bias: true,
        out_bias: true,
        ffn_bias: true,
        ..llama
    };
    let sized = |spec| Spec { vocab: 20, hidden: 72, context: 32, ..spec };
    vec![
        ("two kinds of block", sized(Spec { head: Head::Own, ..Spec::decoder(&[llama, window], &[0, 1, 0]) })),
        (
            "learned positions, all biases",
            sized(Spec { positions: Positions::Learned, final_norm: Norm::Layer, head_bias: true, ..Spec::decoder(&[gpt2], &[0, 0]) }),
        ),
    ]
}

#[test]
fn the_page_and_the_reader_agree() {
    for (name, spec) in specs() {
        for dtype in DType::ALL {
            let file = synthetic::file(&spec, dtype, 7);
            let container = Container::parse(file.bytes()).unwrap();
            let independent = reader::read(file.bytes());
            assert_eq!(independent.meta, container.meta().collect::<Vec<_>>());
            assert_eq!(independent.stored_head_digest, container.head_digest());
            assert_eq!(independent.tensors.len(), container.n_tensors());
            for (theirs, entry) in independent.tensors.iter().zip(container.entries()) {
                let key = entry.tensor.key;
                assert_eq!((theirs.stack, theirs.layer, theirs.role), (key.stack, key.layer, key.role as u8));
                assert_eq!((theirs.rows, theirs.cols, theirs.dtype), (entry.tensor.rows, entry.tensor.cols, entry.dtype as u8));
                let matrix = container.matrix(&entry);
                let mut row = vec![0.0; theirs.cols];
                for r in 0..theirs.rows {
                    matrix.read_row(r, &mut row);
                    for (c, ours) in row.iter().enumerate() {
                        let theirs = theirs.weight(r, c);
                        assert_eq!(theirs.to_bits(), ours.to_bits(), "{name}, {dtype}, {key}[{r}][{c}]: {theirs} and {ours}");
                    }
                }
            }
        }
    }
}

#[test]
fn converted_files_are_what_the_page_says() {
    use kinglet_tools::{checkpoint::Checkpoint, convert, digest};
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let folder = tempfile::tempdir().unwrap();
    for (name, dtype) in [("llama-sharded", DType::Q4), ("gpt2", DType::Q8), ("qwen2-window", DType::F16), ("llama-plain", DType::F32)] {
        let checkpoint = Checkpoint::open(&golden.join(name)).unwrap();
        let out = folder.path().join("out.kgl");
        let conversion = convert::Conversion::plan(&checkpoint, &convert::Options::of(dtype)).unwrap();
        conversion.run(&out, true, None, &()).unwrap();
        let bytes = FileBytes::new(&std::fs::read(&out).unwrap());
        assert_eq!(bytes.bytes().len() as u64, conversion.file_bytes());
        let file = reader::read(bytes.bytes());
        let keys: Vec<_> = file.meta.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["calibration", "embed_type", "family", "head_type", "name", "source_type", "tool", "type"]);
        assert!(file.meta.contains(&("name", name)) && file.meta.contains(&("type", dtype.name())), "{:?}", file.meta);
        assert_eq!(digest::sha256(&file.head), file.stored_head_digest);
        for tensor in &file.tensors {
            assert_eq!(digest::sha256(tensor.bytes), tensor.digest);
        }
        assert_eq!(&file.tokenizer[..4], b"KTOK");
        assert!(file.tokenizer.len() > 80 && file.chat.len() < 4096);
        assert_eq!(properties::container(bytes.bytes()), Ok(()));
    }
}

#[test]
fn every_malformed_file_has_its_error() {
    let cases = malformed::files(&specs()[0].1);
    let mut failures = Vec::new();
    for (name, bytes, expected) in &cases {
        let result = Container::parse(bytes).map(|_| ());
        if result.as_ref() != Err(expected) {
            failures.push(format!("{name}: expected {expected:?}, got {result:?}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
    let names: BTreeSet<_> = cases.iter().map(|(name, _, _)| name).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    let distinct: BTreeSet<_> = cases.iter().map(|(_, _, expected)| format!("{expected:?}")).collect();
    assert!(distinct.len() >= 90, "{} distinct errors", distinct.len());
    // Every variant occurs. A new one makes this list, and so the table, longer.
    let variants: BTreeSet<_> = distinct.iter().map(|e| e.split([' ', '(']).next().unwrap_or_default()).collect();
    let known = [
        "DataLength",
        "DirectoryLength",
        "ExtraTensor",
        "HeaderLength",
        "Magic",
        "MetaLine",
        "MetaOrder",
        "MetaTooLong",
        "MetaUtf8",
        "MissingTensor",
        "Padding",
        "ReservedEntry",
        "ReservedHeader",
        "SectionOffset",
        "Shape",
        "Spec",
        "TensorBeyondData",
        "TensorLength",
        "TensorOffset",
        "TooLarge",
        "TrailingBytes",
        "Truncated",
        "UnknownRole",
        "UnknownType",
        "VectorType",
        "Version",
        "WrongTensor",
    ];
    assert_eq!(variants.into_iter().collect::<Vec<_>>(), known);
}

/// Errors carry numbers, and people get sentences.
#[test]
fn errors_are_sentences() {
    let error = FormatError::Spec(SpecError::Range { field: "heads", value: 0, min: 1, max: 1024 });
    assert_eq!(error.to_string(), "spec: heads is 0, expected 1 to 1024");
    let error = FormatError::SectionOffset { section: Section::Spec, expected: 256, got: 192 };
    assert_eq!(error.to_string(), "header: section spec starts at 192, expected 256");
}

/// What the fuzzers start from is sound, or they would spend their time on the first check.
#[test]
fn fuzz_seeds_are_sound() {
    let seeds = |target: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(files.len() >= 2, "{target}");
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path.display().to_string())).collect::<Vec<_>>()
    };
    for (bytes, path) in seeds("container") {
        assert_eq!(properties::container(FileBytes::new(&bytes).bytes()), Ok(()), "{path}");
    }
    for (bytes, path) in seeds("tokenizer") {
        let (rest, len) = bytes.split_last_chunk::<2>().unwrap();
        let (section, text) = rest.split_at(rest.len() - usize::from(u16::from_le_bytes(*len)));
        let vocab = u32::from_le_bytes(section[8..12].try_into().unwrap());
        let text = std::str::from_utf8(text).unwrap();
        assert_eq!(properties::tokenizer(section, vocab, text, &[]), Ok(()), "{path}");
    }
}

fn base() -> &'static [u8] {
    static BASE: std::sync::OnceLock<FileBytes> = std::sync::OnceLock::new();
    BASE.get_or_init(|| synthetic::file(&specs()[0].1, DType::Q4, 3)).bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes, an error or a file whose accessors all work.
    #[test]
    fn damage_is_an_error_or_harmless(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), prop_oneof![Just(0u8), Just(1), Just(255), any::<u8>()]), 1..6),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut bytes = base().to_vec();
        let data = Container::parse(base()).unwrap().layout().offset(Section::Data) as usize;
        for (at, anywhere, value) in edits {
            let at = at.index(if anywhere { bytes.len() } else { data });
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let _ = properties::container(FileBytes::new(&bytes).bytes());
    }

    #[test]
    fn noise_is_never_a_file(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(properties::container(FileBytes::new(&bytes).bytes()).is_err());
    }
}
