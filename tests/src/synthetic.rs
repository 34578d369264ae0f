//! A whole `.kgl` file from a spec and a seed, in memory.

use kinglet::format::{Entry, Layout, Section};
use kinglet::spec::{Role, Spec, TensorSpec};
use kinglet_quant::{DType, LANES, float, q4, q8};

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() % n as u64) as usize
    }
}

/// A file's bytes at an address that is a multiple of 64.
#[derive(Clone, Debug)]
pub struct FileBytes {
    words: Vec<[u64; 8]>,
    len: usize,
}

impl FileBytes {
    /// A copy of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = vec![[0u64; 8]; bytes.len().div_ceil(64)];
        bytemuck::cast_slice_mut::<_, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, len: bytes.len() }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

/// The file of a model with this spec: matrices of type `dtype`, weights from `seed`, no tokenizer.
///
/// # Panics
/// If the spec is not sound.
#[must_use]
pub fn file(spec: &Spec<'_>, dtype: DType, seed: u64) -> FileBytes {
    with_text(spec, dtype, seed, &[], &[])
}

/// The same with these sections of a tokenizer and of a chat format.
///
/// # Panics
/// As [`file()`].
#[must_use]
pub fn with_text(spec: &Spec<'_>, dtype: DType, seed: u64, tokenizer: &[u8], chat: &[u8]) -> FileBytes {
    let mut spec_bytes = vec![0; 4096];
    let spec_len = spec.encode(&mut spec_bytes).expect("a sound spec");
    spec_bytes.truncate(spec_len);
    let mut random = Random::new(seed);
    let (mut directory, mut data) = (Vec::new(), Vec::new());
    for tensor in spec.tensors() {
        let dtype = if tensor.key.role.is_matrix() { dtype } else { DType::F32 };
        data.resize(data.len().next_multiple_of(kinglet::format::ALIGN), 0);
        let entry = Entry { tensor, dtype, offset: data.len() as u64, digest: [0; 32] };
        directory.extend(entry.encode());
        data.extend(encode(dtype, &tensor, &values(spec, &tensor, &mut random)));
    }
    let meta = b"name=synthetic\n";
    let sections: [&[u8]; 6] = [meta, &spec_bytes, tokenizer, chat, &directory, &data];
    let layout = Layout::new(sections.map(|s| s.len() as u64)).expect("a small file");
    let mut file = vec![0; layout.file_bytes() as usize];
    file[..kinglet::format::HEADER_BYTES].copy_from_slice(&layout.header([0; 32]));
    for (section, bytes) in Section::ALL.into_iter().zip(sections) {
        file[layout.offset(section) as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    FileBytes::new(&file)
}

fn values(spec: &Spec<'_>, tensor: &TensorSpec, random: &mut Random) -> Vec<f32> {
    let n = tensor.rows * tensor.cols;
    match tensor.key.role {
        Role::RotaryFrequencies => {
            let block = &spec.stack().kinds()[usize::from(tensor.key.layer)];
            (0..n).map(|i| block.rotary_theta.powf(-2.0 * i as f32 / block.rotary_dim as f32)).collect()
        }
        Role::AttnNorm | Role::FfnNorm | Role::FinalNorm => (0..n).map(|_| 1.0 + 0.3 * random.signed()).collect(),
        role if role.is_matrix() => {
            // Loud enough that logits differ by whole units, and attention is far from uniform.
            let scale = 3.0 / (tensor.cols as f32).sqrt();
            (0..n).map(|_| scale * random.signed()).collect()
        }
        _ => (0..n).map(|_| 0.2 * random.signed()).collect(),
    }
}

/// The stored bytes of a tensor.
///
/// # Panics
/// If `values` does not fit the shape.
#[must_use]
pub fn encode(dtype: DType, tensor: &TensorSpec, values: &[f32]) -> Vec<u8> {
    let (rows, cols) = (tensor.rows, tensor.cols);
    let mut out = vec![0; dtype.matrix_bytes(rows, cols).expect("a small tensor")];
    match dtype {
        DType::F32 => float::write_f32(values, &mut out),
        DType::F16 => float::write_f16(values, &mut out),
        DType::Q8 | DType::Q4 => {
            let tile_bytes = out.len() / rows.div_ceil(LANES);
            for (tile, rows) in out.chunks_exact_mut(tile_bytes).zip(values.chunks(LANES * cols)) {
                let rows: Vec<&[f32]> = rows.chunks_exact(cols).collect();
                let quantise = if dtype == DType::Q8 { q8::quantise_tile } else { q4::quantise_tile };
                quantise(&rows, None, tile).expect("finite weights");
            }
        }
    }
    out
}
