//! A Hugging Face checkpoint folder: its JSON files, and its tensors, mapped.
//!
//! Opening reads every header and no tensor. Tensors are borrowed from the mappings: their pages are read when they
//! are converted, and dropped by the kernel as it likes.

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const JSON_FILES: [&str; 7] = [
    INDEX,
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];
/// JSON files longer than this are refused; the largest tokenizers take some 30 MB.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// The float types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
}

impl SourceType {
    /// The name in safetensors files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SourceType::F32 => "F32",
            SourceType::F16 => "F16",
            SourceType::Bf16 => "BF16",
        }
    }

    /// Bytes of an element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            SourceType::F32 => 4,
            SourceType::F16 | SourceType::Bf16 => 2,
        }
    }
}

/// A tensor of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct SourceTensor<'c> {
    /// Its name.
    pub name: &'c str,
    /// The file that holds it, without the folder.
    pub file: &'c str,
    /// Its element type.
    pub dtype: SourceType,
    /// Its shape, outermost first.
    pub shape: &'c [usize],
    /// Its elements: little-endian, the last dimension contiguous, at any alignment.
    pub bytes: &'c [u8],
}

impl SourceTensor<'_> {
    /// Widens `out.len()` elements, `step` apart, the first being element `start`.
    ///
    /// # Panics
    /// If one of them lies outside the tensor.
    pub fn read(&self, start: usize, step: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        let elements = self.bytes[start * size..].chunks_exact(size);
        assert!(elements.len().div_ceil(step) >= out.len(), "{}: {} elements from {start} on, {step} apart", self.name, out.len());
        // Contiguous rows are the common case, and much faster as a plain loop.
        if step == 1 { widen(self.dtype, elements, out) } else { widen(self.dtype, elements.step_by(step), out) }
    }
}

fn widen<'b>(dtype: SourceType, elements: impl Iterator<Item = &'b [u8]>, out: &mut [f32]) {
    let pairs = out.iter_mut().zip(elements);
    match dtype {
        SourceType::F32 => pairs.for_each(|(x, b)| *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        SourceType::F16 => pairs.for_each(|(x, b)| *x = half::f16::from_le_bytes([b[0], b[1]]).to_f32()),
        SourceType::Bf16 => pairs.for_each(|(x, b)| *x = half::bf16::from_le_bytes([b[0], b[1]]).to_f32()),
    }
}

#[derive(Debug)]
struct Shard {
    file: String,
    map: Mmap,
}

#[derive(Debug)]
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    shard: usize,
    range: Range<usize>,
}

/// An opened checkpoint folder.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Stored>,
}

impl Checkpoint {
    /// Maps the weights of `folder` and checks their headers: `model.safetensors` if there is one, else the shards
    /// that `model.safetensors.index.json` lists.
    ///
    /// The files must not be changed or truncated while the checkpoint is open: the system ends a process that reads
    /// a page which is gone.
    ///
    /// # Errors
    /// The file that cannot be read, or does not agree with the index.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        if !folder.is_dir() {
            return Err(CheckpointError::NotAFolder { path: folder.to_owned(), exists: folder.exists() });
        }
        let mut checkpoint = Self { folder: folder.to_owned(), shards: Vec::new(), tensors: BTreeMap::new() };
        if folder.join(SINGLE).exists() {
            checkpoint.add_shard(SINGLE)?;
        } else if folder.join(INDEX).exists() {
            checkpoint.add_indexed()?;
        } else {
            let pickled = folder.join("pytorch_model.bin").exists() || folder.join("pytorch_model.bin.index.json").exists();
            return Err(CheckpointError::NoWeights { folder: folder.to_owned(), pickled });
        }
        Ok(checkpoint)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The text of a file of the folder, if it is there.
    ///
    /// # Errors
    /// If it is there and cannot be read, is not UTF-8, or is unreasonably long.
    pub fn text(&self, file: &str) -> Result<Option<String>, CheckpointError> {
        read_text(&self.folder, file)
    }

    /// `config.json`.
    ///
    /// # Errors
    /// If it is missing or cannot be read.
    pub fn config(&self) -> Result<String, CheckpointError> {
        self.text("config.json")?.ok_or_else(|| CheckpointError::Missing { file: "config.json".into(), folder: self.folder.clone() })
    }

    /// Names of all tensors, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor.
    ///
    /// # Errors
    /// If it is missing, or its elements are not floats that are read.
    pub fn tensor(&self, name: &str) -> Result<SourceTensor<'_>, CheckpointError> {
        let Some((name, stored)) = self.tensors.get_key_value(name) else {
            return Err(CheckpointError::MissingTensor { name: name.to_owned() });
        };
        let shard = &self.shards[stored.shard];
        let dtype = match stored.dtype {
            Dtype::F32 => SourceType::F32,
            Dtype::F16 => SourceType::F16,
            Dtype::BF16 => SourceType::Bf16,
            other => {
                return Err(CheckpointError::ElementType { file: shard.file.clone(), name: name.clone(), got: format!("{other:?}") });
            }
        };
        Ok(SourceTensor { name, file: &shard.file, dtype, shape: &stored.shape, bytes: &shard.map[stored.range.clone()] })
    }

    /// Whether `path` is one of the folder's files that are read.
    #[must_use]
    pub fn uses(&self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else { return false };
        let files = self.shards.iter().map(|shard| shard.file.as_str()).chain(JSON_FILES);
        files.into_iter().any(|file| self.folder.join(file).canonicalize().is_ok_and(|p| p == path))
    }

    fn add_shard(&mut self, file: &str) -> Result<(), CheckpointError> {
        let io = |error| CheckpointError::Io { path: self.folder.join(file), error };
        let handle = File::open(self.folder.join(file)).map_err(io)?;
        if !handle.metadata().map_err(io)?.is_file() {
            return Err(io(io::Error::other("expected a file")));
        }
        // SAFETY: the mapping is private to this process and read-only; `open` tells callers that the file must stay
        // as it is meanwhile.
        #[expect(unsafe_code, reason = "mapping a file")]
        let map = unsafe { Mmap::map(&handle) }.map_err(io)?;
        let damaged = |error| CheckpointError::Safetensors { file: file.to_owned(), file_bytes: map.len() as u64, error };
        let (header_len, metadata) = SafeTensors::read_metadata(&map).map_err(damaged)?;
        let data = 8 + header_len;
        for (name, info) in metadata.tensors() {
            let stored = Stored {
                dtype: info.dtype,
                shape: info.shape.clone(),
                shard: self.shards.len(),
                range: data + info.data_offsets.0..data + info.data_offsets.1,
            };
            if let Some(other) = self.tensors.get(&name) {
                let first = self.shards[other.shard].file.clone();
                return Err(CheckpointError::Duplicate { name, first, second: file.to_owned() });
            }
            self.tensors.insert(name, stored);
        }
        self.shards.push(Shard { file: file.to_owned(), map });
        Ok(())
    }

    fn add_indexed(&mut self) -> Result<(), CheckpointError> {
        let index = |what: String| CheckpointError::Index { what };
        let text = self.text(INDEX)?.unwrap_or_default();
        let json: Value = serde_json::from_str(&text).map_err(|e| CheckpointError::Json { file: INDEX.into(), error: e.to_string() })?;
        let map = json.get("weight_map").and_then(Value::as_object).ok_or_else(|| index("expected an object `weight_map`".into()))?;
        let mut of_shard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, file) in map {
            let file = file.as_str().ok_or_else(|| index(format!("weight_map: `{name}`: expected a file name, got {file}")))?;
            if !is_plain_name(file) {
                return Err(index(format!("weight_map: `{name}`: expected the name of a file in the same folder, got `{file}`")));
            }
            of_shard.entry(file).or_default().push(name);
        }
        if of_shard.is_empty() {
            return Err(index("weight_map is empty".into()));
        }
        for (&file, names) in &of_shard {
            if !self.folder.join(file).exists() {
                return Err(CheckpointError::MissingShard { file: file.to_owned(), tensors: names.len(), of: map.len() });
            }
            self.add_shard(file)?;
        }
        for (name, file) in map {
            match self.tensors.get(name).map(|stored| self.shards[stored.shard].file.as_str()) {
                None => return Err(index(format!("`{name}` is said to be in {file}, which does not have it"))),
                Some(got) if Some(got) != file.as_str() => return Err(index(format!("`{name}` is said to be in {file}, but is in {got}"))),
                Some(_) => {}
            }
        }
        if let Some((name, stored)) = self.tensors.iter().find(|(name, _)| !map.contains_key(*name)) {
            return Err(index(format!("`{name}` of {} is not in weight_map", self.shards[stored.shard].file)));
        }
        Ok(())
    }
}

/// The text of `file` in `folder`, if it is there.
///
/// # Errors
/// If it is there and cannot be read, is not UTF-8, or is unreasonably long.
pub fn read_text(folder: &Path, file: &str) -> Result<Option<String>, CheckpointError> {
    let path = folder.join(file);
    let io = |error| CheckpointError::Io { path: path.clone(), error };
    let len = match std::fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
    };
    if len > MAX_JSON_BYTES {
        return Err(io(io::Error::other(format!("expected at most {MAX_JSON_BYTES} bytes, got {len}"))));
    }
    std::fs::read_to_string(&path).map(Some).map_err(io)
}

/// One path component that names a file: no separators of any system, no drive, not the folder or its parent.
fn is_plain_name(file: &str) -> bool {
    !file.is_empty() && file != "." && file != ".." && !file.contains(['/', '\\', ':', '\0'])
}

/// Why a checkpoint cannot be read.
#[derive(Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "field names say it; the variants carry the docs")]
pub enum CheckpointError {
    /// The path is not a folder.
    NotAFolder { path: PathBuf, exists: bool },
    /// A file cannot be read.
    Io { path: PathBuf, error: io::Error },
    /// A file is missing.
    Missing { file: String, folder: PathBuf },
    /// No safetensors files.
    NoWeights { folder: PathBuf, pickled: bool },
    /// A file is not JSON.
    Json { file: String, error: String },
    /// The index is wrong, or disagrees with the shards.
    Index { what: String },
    /// A shard of the index is missing.
    MissingShard { file: String, tensors: usize, of: usize },
    /// A tensor is in two shards.
    Duplicate { name: String, first: String, second: String },
    /// A weights file is damaged.
    Safetensors { file: String, file_bytes: u64, error: safetensors::SafeTensorError },
    /// A tensor's elements are not floats that are read.
    ElementType { file: String, name: String, got: String },
    /// A tensor is missing.
    MissingTensor { name: String },
}

impl std::fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use safetensors::SafeTensorError as Damage;
        match self {
            Self::NotAFolder { path, exists: true } => write!(f, "{}: expected a checkpoint folder, got a file", path.display()),
            Self::NotAFolder { path, exists: false } => write!(f, "{}: no such folder", path.display()),
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Missing { file, folder } => write!(f, "{}: {file} is missing", folder.display()),
            Self::NoWeights { folder, pickled: false } => write!(f, "{}: neither {SINGLE} nor {INDEX}", folder.display()),
            Self::NoWeights { folder, pickled: true } => write!(
                f,
                "{}: only pickled weights (pytorch_model.bin), which can run code when read; save the model as safetensors first",
                folder.display()
            ),
            Self::Json { file, error } => write!(f, "{file}: not JSON: {error}"),
            Self::Index { what } => write!(f, "{INDEX}: {what}"),
            Self::MissingShard { file, tensors, of } => {
                write!(f, "shard {file} is missing: {INDEX} puts {tensors} of {of} tensors there")
            }
            Self::Duplicate { name, first, second } => write!(f, "tensor `{name}` is in {first} and again in {second}"),
            Self::Safetensors { file, file_bytes, error } => match error {
                Damage::HeaderTooSmall | Damage::InvalidHeaderLength | Damage::MetadataIncompleteBuffer => {
                    write!(f, "{file}: truncated, or not a safetensors file: its {file_bytes} bytes are not what its header says")
                }
                other => write!(f, "{file}: not a sound safetensors file: {other}"),
            },
            Self::ElementType { file, name, got } => write!(f, "{file}: tensor `{name}`: expected F32, F16 or BF16, got {got}"),
            Self::MissingTensor { name } => write!(f, "tensor `{name}` is missing from the checkpoint"),
        }
    }
}

impl std::error::Error for CheckpointError {}
