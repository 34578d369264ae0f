//! Files with one fault each, and the error that each must give.

use kinglet::format::{ALIGN, Container, ENTRY_BYTES, FormatError, HEADER_BYTES, Layout, Role, Section, TensorKey};
use kinglet::spec::{Spec, SpecError};
use kinglet_quant::DType;
use kinglet_tests::synthetic;

pub(crate) type Case = (&'static str, Vec<u8>, FormatError);

/// The sections of a file, to be changed and put together again.
#[derive(Clone)]
struct Parts([Vec<u8>; 6]);

impl Parts {
    fn of(file: &[u8]) -> Self {
        let container = Container::parse(file).unwrap();
        Self(Section::ALL.map(|section| container.section(section).to_vec()))
    }

    fn build(&self) -> Vec<u8> {
        let layout = Layout::new(self.0.each_ref().map(|s| s.len() as u64)).unwrap();
        let mut file = vec![0; layout.file_bytes() as usize];
        file[..HEADER_BYTES].copy_from_slice(&layout.header([0; 32]));
        for (section, bytes) in Section::ALL.into_iter().zip(&self.0) {
            file[layout.offset(section) as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        file
    }

    fn with(&self, section: Section, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut parts = self.clone();
        change(&mut parts.0[section as usize]);
        parts.build()
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn patched(bytes: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    put(&mut bytes, at, value);
    bytes
}

pub(crate) fn files(spec: &Spec<'_>) -> Vec<Case> {
    let file = synthetic::file(spec, DType::Q8, 1);
    let file = file.bytes();
    let mut cases = headers(file);
    cases.extend(metas(&Parts::of(file)));
    cases.extend(specs(&Parts::of(file)));
    cases.extend(directories(file));
    cases
}

fn headers(file: &[u8]) -> Vec<Case> {
    use FormatError::{HeaderLength, Magic, Padding, ReservedHeader, SectionOffset, TooLarge, TrailingBytes, Truncated, Version};
    let len = file.len() as u64;
    let container = Container::parse(file).unwrap();
    let layout = *container.layout();
    let mut longer = file.to_vec();
    longer.push(0);
    let text_mode: Vec<u8> = file.iter().copied().filter(|&b| b != b'\r').collect();
    let too_large = TooLarge { what: "the sum of the sections" };
    let mut cases = vec![
        ("an empty file", vec![], Magic),
        ("another format", patched(file, 0, b"GGUF"), Magic),
        ("a zip archive", patched(file, 0, b"PK\x03\x04"), Magic),
        ("the high bit is gone", patched(file, 0, &[0x09]), Magic),
        ("a transfer that dropped carriage returns", text_mode, Magic),
        ("ends within the magic", file[..4].to_vec(), Truncated { expected: 192, got: 4 }),
        ("ends within the header", file[..191].to_vec(), Truncated { expected: 192, got: 191 }),
        ("ends after the header", file[..192].to_vec(), Truncated { expected: len, got: 192 }),
        ("ends before the data", file[..4096].to_vec(), Truncated { expected: len, got: 4096 }),
        ("the last byte is missing", file[..file.len() - 1].to_vec(), Truncated { expected: len, got: len - 1 }),
        ("a byte too many", longer, TrailingBytes { expected: len, got: len + 1 }),
        ("two files in one", [file, file].concat(), TrailingBytes { expected: len, got: 2 * len }),
        ("version 0", patched(file, 8, &0u32.to_le_bytes()), Version { got: 0 }),
        ("the next version", patched(file, 8, &2u32.to_le_bytes()), Version { got: 2 }),
        ("a big-endian version", patched(file, 8, &1u32.to_be_bytes()), Version { got: 1 << 24 }),
        ("a shorter header", patched(file, 12, &191u32.to_le_bytes()), HeaderLength { got: 191 }),
        ("an endless header", patched(file, 12, &u32::MAX.to_le_bytes()), HeaderLength { got: u32::MAX }),
        ("the first reserved byte of the header", patched(file, 144, &[1]), ReservedHeader { at: 144 }),
        ("the last reserved byte of the header", patched(file, 191, &[255]), ReservedHeader { at: 191 }),
        ("a section of all there is", patched(file, 24, &u64::MAX.to_le_bytes()), too_large),
        ("lengths that wrap around", patched(file, 104, &(u64::MAX - 4095).to_le_bytes()), too_large),
        (
            "a length whose padding wraps around",
            patched(file, 88, &(u64::MAX - layout.offset(Section::Directory)).to_le_bytes()),
            too_large,
        ),
        (
            "an exabyte of data in a small file",
            patched(file, 104, &(1u64 << 60).to_le_bytes()),
            Truncated { expected: layout.offset(Section::Data) + (1 << 60), got: len },
        ),
    ];
    let names = ["meta elsewhere", "spec elsewhere", "tokenizer elsewhere", "chat elsewhere", "directory elsewhere", "data elsewhere"];
    for (section, name) in Section::ALL.into_iter().zip(names) {
        let expected = layout.offset(section);
        let got = expected + if section == Section::Data { 4096 } else { 64 };
        cases.push((name, patched(file, 16 + 16 * section as usize, &got.to_le_bytes()), SectionOffset { section, expected, got }));
    }
    let (expected, got) = (layout.offset(Section::Spec), 192u64);
    cases.push(("sections that overlap", patched(file, 32, &got.to_le_bytes()), SectionOffset { section: Section::Spec, expected, got }));
    let got = u64::MAX - 63;
    let expected = layout.offset(Section::Data);
    cases.push(("data beyond the end", patched(file, 96, &got.to_le_bytes()), SectionOffset { section: Section::Data, expected, got }));
    let got = expected + 1;
    cases.push(("data off its page", patched(file, 96, &got.to_le_bytes()), SectionOffset { section: Section::Data, expected, got }));
    for (name, before) in [("something between meta and spec", Section::Spec), ("something before the data", Section::Data)] {
        let at = layout.offset(before) as usize - 1;
        cases.push((name, patched(file, at, &[7]), Padding { before, at }));
    }
    cases
}

fn metas(parts: &Parts) -> Vec<Case> {
    use FormatError::{MetaLine, MetaOrder, MetaTooLong, MetaUtf8};
    let meta = |text: &[u8]| parts.with(Section::Meta, |meta| *meta = text.to_vec());
    vec![
        ("endless meta", meta(&[b"a=".to_vec(), vec![b'x'; 1 << 16]].concat()), MetaTooLong { got: (1 << 16) + 2 }),
        ("meta that is not UTF-8", meta(b"name=\xff\n"), MetaUtf8 { at: 5 }),
        ("half a character in meta", meta("name=é".as_bytes().split_last().unwrap().1), MetaUtf8 { at: 5 }),
        ("a line without a key", meta(b"a=1\n=2\n"), MetaLine { line: 2 }),
        ("a line without a value", meta(b"a=1\nb=2\nname\n"), MetaLine { line: 3 }),
        ("a key in capitals", meta(b"Name=x\n"), MetaLine { line: 1 }),
        ("an empty line", meta(b"a=1\nb=2\nc=3\n\nd=4\n"), MetaLine { line: 4 }),
        ("a terminal's escape sequence", meta(b"a=1\nb=2\nc=3\nd=4\nname=\x1b[2J\n"), MetaLine { line: 5 }),
        ("carriage returns", meta(b"a=\nb=\nc=\nd=\ne=\nname=x\r\n"), MetaLine { line: 6 }),
        ("a key twice", meta(b"a=1\na=2\n"), MetaOrder { line: 2 }),
        ("keys out of order", meta(b"a=1\nc=2\nb=3\n"), MetaOrder { line: 3 }),
    ]
}

fn specs(parts: &Parts) -> Vec<Case> {
    use SpecError::{Float, Length, NotMultiple, Range, Reserved, Unknown, Version};
    const STACK: usize = 64;
    const KIND: usize = 80;
    const LAYERS: usize = KIND + 2 * 96;
    const LEN: usize = 280;
    assert_eq!(parts.0[Section::Spec as usize].len(), LEN, "three layers, padded to 8");
    let patch = |at: usize, value: &[u8]| parts.with(Section::Spec, |spec| put(spec, at, value));
    let word = |at: usize, value: u32| patch(at, &value.to_le_bytes());
    let float = |at: usize, value: f32| patch(at, &value.to_le_bytes());
    let range = |field, value, min, max| Range { field, value, min, max };
    let cut = |len: usize| parts.with(Section::Spec, |spec| spec.resize(len, 0));
    let cases = vec![
        ("an empty spec", cut(0), Length { expected: 1, got: 0 }),
        ("a spec that ends in its head", cut(20), Length { expected: 21, got: 20 }),
        ("a spec that ends in a block", cut(100), Length { expected: 101, got: 100 }),
        ("a spec that ends in its layers", cut(LAYERS + 1), Length { expected: LAYERS + 3, got: LAYERS + 1 }),
        ("a spec without its padding", cut(LAYERS + 3), Length { expected: LAYERS + 4, got: LAYERS + 3 }),
        ("a spec that goes on", cut(LEN + 8), Length { expected: LEN, got: LEN + 8 }),
        ("the spec's version", patch(0, &[2]), Version { got: 2 }),
        ("no stack", patch(2, &[0]), range("stacks", 0, 1, 2)),
        ("three stacks", patch(2, &[3]), range("stacks", 3, 1, 2)),
        ("a second stack that is not there", patch(2, &[2]), Length { expected: LEN + 1, got: LEN }),
        ("an unknown head", patch(3, &[7]), Unknown { field: "head", value: 7 }),
        ("no vocabulary", word(4, 0), range("vocab", 0, 1, 1 << 24)),
        ("an endless vocabulary", word(4, u32::MAX), range("vocab", u32::MAX.into(), 1, 1 << 24)),
        ("no width", word(8, 0), range("hidden", 0, 1, 1 << 17)),
        ("endless width", word(8, 1 << 31), range("hidden", 1 << 31, 1, 1 << 17)),
        ("no context", word(12, 0), range("context", 0, 1, 1 << 24)),
        ("endless context", word(12, (1 << 24) + 1), range("context", (1 << 24) + 1, 1, 1 << 24)),
        ("unknown positions", patch(16, &[3]), Unknown { field: "positions", value: 3 }),
        ("an unknown final norm", patch(18, &[9]), Unknown { field: "final_norm", value: 9 }),
        ("a flag of 2", patch(19, &[2]), Unknown { field: "head_bias", value: 2 }),
        ("an epsilon that is not a number", float(20, f32::NAN), Float { field: "final_norm_eps" }),
        ("an endless embedding scale", float(24, f32::INFINITY), Float { field: "embed_scale" }),
        ("a head scale of 0", float(28, 0.0), Float { field: "head_scale" }),
        ("a negative soft cap", float(32, -1.0), Float { field: "head_soft_cap" }),
        ("a reserved byte of the spec's head", patch(63, &[1]), Reserved { at: 63 }),
        ("an unknown kind of stack", patch(STACK, &[3]), Unknown { field: "stack kind", value: 3 }),
        ("no kind of block", patch(STACK + 1, &[0]), range("block kinds", 0, 1, 4)),
        ("five kinds of block", patch(STACK + 1, &[5]), range("block kinds", 5, 1, 4)),
        ("no layers", patch(STACK + 2, &[0, 0]), range("layers", 0, 1, 1024)),
        ("65,535 layers", patch(STACK + 2, &[255, 255]), range("layers", 65_535, 1, 1024)),
        ("a reserved byte of a stack", patch(STACK + 4, &[1]), Reserved { at: STACK + 4 }),
        ("an unknown norm", patch(KIND, &[3]), Unknown { field: "norm", value: 3 }),
        ("an unknown place of norms", patch(KIND + 1, &[4]), Unknown { field: "norm_place", value: 4 }),
        ("a bias flag of 255", patch(KIND + 2, &[255]), Unknown { field: "qkv_bias", value: 255 }),
        ("an unknown way of positions", patch(KIND + 5, &[5]), Unknown { field: "attention positions", value: 5 }),
        ("an unknown scaling", patch(KIND + 6, &[4]), Unknown { field: "rotary_scaling", value: 4 }),
        ("an unknown mask", patch(KIND + 7, &[2]), Unknown { field: "mask", value: 2 }),
        ("an unknown feed-forward layer", patch(KIND + 8, &[2]), Unknown { field: "ffn", value: 2 }),
        ("an unknown activation", patch(KIND + 9, &[4]), Unknown { field: "activation", value: 4 }),
        ("a reserved byte of a block", patch(KIND + 11, &[1]), Reserved { at: KIND + 11 }),
        ("a negative epsilon", float(KIND + 12, -1e-5), Float { field: "norm_eps" }),
        ("no heads", word(KIND + 16, 0), range("heads", 0, 1, 1024)),
        ("endless heads", word(KIND + 16, 1 << 30), range("heads", 1 << 30, 1, 1024)),
        ("no key heads", word(KIND + 20, 0), range("kv_heads", 0, 1, 2)),
        ("more key heads than heads", word(KIND + 20, 3), range("kv_heads", 3, 1, 2)),
        (
            "heads that key heads do not divide",
            parts.with(Section::Spec, |spec| put(spec, KIND + 16, &[3, 0, 0, 0, 2])),
            NotMultiple { field: "heads", value: 3, of: 2 },
        ),
        ("a head of nothing", word(KIND + 24, 0), range("head_dim", 0, 8, 256)),
        ("a head too wide for the kernels", word(KIND + 24, 264), range("head_dim", 264, 8, 256)),
        ("a head of 36", word(KIND + 24, 36), NotMultiple { field: "head_dim", value: 36, of: 8 }),
        ("an odd rotation", word(KIND + 28, 31), NotMultiple { field: "rotary_dim", value: 31, of: 2 }),
        ("a rotation wider than the head", word(KIND + 28, 34), range("rotary_dim", 34, 2, 32)),
        ("a rotation without rotary positions", patch(KIND + 5, &[0]), range("rotary_dim", 32, 0, 0)),
        ("a base that is not a number", float(KIND + 32, f32::NAN), Float { field: "rotary_theta" }),
        ("a magnitude of 0", float(KIND + 36, 0.0), Float { field: "rotary_magnitude" }),
        ("an endless window", word(KIND + 40, u32::MAX), range("window", u32::MAX.into(), 0, 1 << 24)),
        ("an attention scale of infinity", float(KIND + 44, f32::INFINITY), Float { field: "attn_scale" }),
        ("a soft cap that is not a number", float(KIND + 48, f32::NAN), Float { field: "attn_soft_cap" }),
        ("no inner size", word(KIND + 52, 0), range("ffn_dim", 0, 1, 1 << 20)),
        ("an endless inner size", word(KIND + 52, u32::MAX), range("ffn_dim", u32::MAX.into(), 1, 1 << 20)),
        ("endless experts", word(KIND + 56, 1025), range("experts", 1025, 0, 1024)),
        ("more experts used than there are", word(KIND + 60, 1), range("experts_used", 1, 0, 0)),
        ("a residual scale of 0", float(KIND + 64, 0.0), Float { field: "residual_scale" }),
        ("a block's last reserved byte", patch(KIND + 95, &[1]), Reserved { at: KIND + 95 }),
        ("the second kind is checked, too", word(KIND + 96 + 24, 20), NotMultiple { field: "head_dim", value: 20, of: 8 }),
        ("a layer of a kind that is not there", patch(LAYERS + 1, &[2]), range("a layer's kind", 2, 0, 1)),
        ("something behind the layers", patch(LAYERS + 3, &[1]), Reserved { at: LAYERS + 3 }),
    ];
    cases.into_iter().map(|(name, bytes, error)| (name, bytes, FormatError::Spec(error))).collect()
}

fn directories(file: &[u8]) -> Vec<Case> {
    use FormatError::{
        DataLength, DirectoryLength, ExtraTensor, MissingTensor, ReservedEntry, Shape, TensorBeyondData, TensorLength, TensorOffset,
        TooLarge, UnknownRole, UnknownType, VectorType, WrongTensor,
    };
    let parts = &Parts::of(file);
    let container = Container::parse(file).unwrap();
    let entry = |index: usize| container.entry(index);
    let key = |index: usize| entry(index).tensor.key;
    let n = container.n_tensors();
    let data_len = container.layout().len(Section::Data);
    let change = |change: &dyn Fn(&mut Vec<u8>)| parts.with(Section::Directory, change);
    let patch = |index: usize, at: usize, value: &[u8]| change(&|d| put(d, ENTRY_BYTES * index + at, value));
    let swap = |a: usize, b: usize| {
        change(&|d| {
            let (one, other) = (entry(a).encode(), entry(b).encode());
            put(d, ENTRY_BYTES * a, &other);
            put(d, ENTRY_BYTES * b, &one);
        })
    };
    let without = |index: usize| change(&|d| drop(d.drain(ENTRY_BYTES * index..ENTRY_BYTES * (index + 1))));
    let (embedding, norm, head) = (entry(0), entry(1), entry(2));
    assert_eq!(norm.tensor.key.role, Role::FinalNorm);
    let moved = |to: u64| patch(2, 16, &to.to_le_bytes());
    let offset = |got| TensorOffset { index: 2, key: key(2), expected: head.offset, got };
    let mut longer = entry(n - 1).encode();
    put(&mut longer, 16, &data_len.next_multiple_of(ALIGN as u64).to_le_bytes());
    let wide = |rows: usize, cols: usize| {
        let mut changed = embedding;
        (changed.tensor.rows, changed.tensor.cols) = (rows, cols);
        patch(0, 0, &changed.encode())
    };
    let shape = |got| Shape { index: 0, key: key(0), expected: (20, 72), got };
    let f16_norm = kinglet::format::Entry { dtype: DType::F16, ..norm };
    vec![
        ("an empty directory", change(&|d| d.clear()), MissingTensor { key: key(0) }),
        ("half an entry", change(&|d| d.truncate(ENTRY_BYTES * (n - 1) + 32)), DirectoryLength { got: ENTRY_BYTES * (n - 1) + 32 }),
        ("an unknown role", patch(0, 1, &[7]), UnknownRole { index: 0, value: 7 }),
        ("a role of 255", patch(3, 1, &[255]), UnknownRole { index: 3, value: 255 }),
        ("an unknown type", patch(0, 4, &[4]), UnknownType { index: 0, value: 4 }),
        ("a type of 255", patch(1, 4, &[255]), UnknownType { index: 1, value: 255 }),
        ("a reserved byte of an entry", patch(2, 7, &[1]), ReservedEntry { index: 2 }),
        ("a directory without its last tensor", without(n - 1), MissingTensor { key: key(n - 1) }),
        ("a directory without its first tensor", without(0), WrongTensor { index: 0, expected: key(0), got: key(1) }),
        ("a tensor twice", patch(2, 0, &norm.encode()), WrongTensor { index: 2, expected: key(2), got: key(1) }),
        ("tensors out of order", swap(1, 2), WrongTensor { index: 1, expected: key(1), got: key(2) }),
        (
            "a tensor of a stack that is not there",
            patch(5, 0, &[9]),
            WrongTensor { index: 5, expected: key(5), got: TensorKey { stack: 9, ..key(5) } },
        ),
        (
            "a tensor of a layer that is not there",
            patch(5, 2, &[255, 255]),
            WrongTensor { index: 5, expected: key(5), got: TensorKey { layer: 65_535, ..key(5) } },
        ),
        (
            "a tensor that the spec does not have",
            patch(1, 1, &[Role::HeadBias as u8]),
            WrongTensor { index: 1, expected: key(1), got: TensorKey { role: Role::HeadBias, ..key(1) } },
        ),
        ("a tensor too many", change(&|d| d.extend_from_slice(&longer)), ExtraTensor { index: n, key: key(n - 1) }),
        ("a vocabulary that the spec does not have", wide(24, 72), shape((24, 72))),
        ("a width that the spec does not have", wide(20, 64), shape((20, 64))),
        ("a transposed matrix", wide(72, 20), shape((72, 20))),
        ("a tensor without rows", wide(0, 72), shape((0, 72))),
        (
            "a shape whose size wraps around",
            patch(0, 4, &[0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
            TooLarge { what: "a tensor's size" },
        ),
        (
            "a shape in place of its length",
            patch(0, 8, &[255, 255, 255, 0]),
            TensorLength {
                index: 0,
                key: key(0),
                expected: DType::Q8.matrix_bytes(0xff_ffff, 72).unwrap() as u64,
                got: embedding.len_bytes().unwrap(),
            },
        ),
        (
            "a length that is not the shape's",
            patch(1, 24, &4u64.to_le_bytes()),
            TensorLength { index: 1, key: key(1), expected: 288, got: 4 },
        ),
        ("an endless length", patch(1, 24, &u64::MAX.to_le_bytes()), TensorLength { index: 1, key: key(1), expected: 288, got: u64::MAX }),
        ("half a matrix by its type", patch(0, 4, &[3]), {
            let expected = DType::Q4.matrix_bytes(20, 72).unwrap() as u64;
            TensorLength { index: 0, key: key(0), expected, got: embedding.len_bytes().unwrap() }
        }),
        ("a vector in half precision", patch(1, 0, &f16_norm.encode()), VectorType { index: 1, key: key(1), got: DType::F16 }),
        ("a tensor off its alignment", moved(head.offset + 4), offset(head.offset + 4)),
        ("a hole before a tensor", moved(head.offset + 64), offset(head.offset + 64)),
        ("tensors that overlap", moved(0), offset(0)),
        ("a tensor beyond the file", moved(1 << 62), offset(1 << 62)),
        ("a tensor at the end of all integers", moved(u64::MAX - 63), offset(u64::MAX - 63)),
        (
            "data that ends in its last tensor",
            parts.with(Section::Data, |data| data.truncate(data.len() - 1)),
            TensorBeyondData { index: n - 1, key: key(n - 1), data_len: data_len - 1 },
        ),
        ("no data", parts.with(Section::Data, Vec::clear), TensorBeyondData { index: 0, key: key(0), data_len: 0 }),
        (
            "data behind the last tensor",
            parts.with(Section::Data, |data| data.resize(data.len() + 64, 0)),
            DataLength { expected: data_len, got: data_len + 64 },
        ),
    ]
}
