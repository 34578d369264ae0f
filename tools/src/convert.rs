//! A checkpoint becomes a `.kgl` file.
//!
//! [`Conversion::plan`] checks everything that can be checked without reading weights: names, shapes, types. It
//! knows the size of the file to the byte. [`Conversion::run`] then streams tensor after tensor, in chunks of whole
//! tiles: while one chunk is converted on all threads, the one before is hashed and written. A tile is a pure function
//! of its rows and chunks do not depend on the threads, so neither does any byte of the file.

mod rows;

use crate::calibration::{self, Importance};
use crate::chat_template;
use crate::checkpoint::{Checkpoint, CheckpointError, SourceType};
use crate::digest;
use crate::family::{ConfigError, Model, Source};
use crate::output::{Output, OutputError};
use crate::report::Report;
use crate::tokenizer_compiler::{self, TokenizerCompileError};
use crate::writer::{self, Head, Writer};
use kinglet::format::Entry;
use kinglet::spec::{self, Role, Spec, SpecError};
use kinglet_quant::metrics::ErrorStats;
use kinglet_quant::{DType, LANES, QuantiseError, float, q4, q8};
use rayon::prelude::*;
use rows::Rows;
use std::collections::BTreeSet;
use std::io::{Seek, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What embedding and head are stored as when the file's type is q4 and nothing else is asked for. They take a large
/// share of a small model's bytes, but an error in them reaches every logit.
pub const EMBED_AND_HEAD_OF_Q4: DType = DType::Q8;

/// Output bytes of a chunk: enough tiles for many threads, little memory.
const CHUNK_BYTES: usize = 8 << 20;

/// Characters of a model's name, at most.
const MAX_NAME: usize = 200;

/// The element types of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of the matrices in the blocks.
    pub weights: DType,
    /// Of token and position embedding; `None` leaves it to [`EMBED_AND_HEAD_OF_Q4`] and `weights`.
    pub embed: Option<DType>,
    /// Of the head; likewise.
    pub head: Option<DType>,
}

impl Types {
    /// One type for everything, as far as the defaults go.
    #[must_use]
    pub const fn of(weights: DType) -> Self {
        Self { weights, embed: None, head: None }
    }

    /// Settles the types for a model.
    ///
    /// # Errors
    /// If the model's head is its embedding, and the two are given different types.
    pub fn resolve(self, spec: &Spec<'_>) -> Result<ResolvedTypes, ConvertError> {
        let default = if self.weights == DType::Q4 { EMBED_AND_HEAD_OF_Q4 } else { self.weights };
        let (embed, head) = if spec.head == spec::Head::Tied {
            match (self.embed, self.head) {
                (Some(embed), Some(head)) if embed != head => return Err(ConvertError::TiedTypes { embed, head }),
                (embed, head) => {
                    let one = embed.or(head).unwrap_or(default);
                    (one, one)
                }
            }
        } else {
            (self.embed.unwrap_or(default), self.head.unwrap_or(default))
        };
        Ok(ResolvedTypes { weights: self.weights, embed, head })
    }
}

/// The element types of a file of a known model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedTypes {
    /// Of the matrices in the blocks.
    pub weights: DType,
    /// Of token and position embedding.
    pub embed: DType,
    /// Of the head; equals `embed` where they are one matrix.
    pub head: DType,
}

impl ResolvedTypes {
    /// The type of the matrices of a role.
    #[must_use]
    pub const fn of(&self, role: Role) -> DType {
        match role {
            Role::TokenEmbedding | Role::PositionEmbedding => self.embed,
            Role::Head => self.head,
            _ => self.weights,
        }
    }
}

/// What a user may choose.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Element types.
    pub types: Types,
    /// The model's name in the file; by default that of the checkpoint's folder.
    pub name: Option<&'a str>,
    /// Leave the tokenizer out: the model then takes and gives token ids only.
    pub no_tokenizer: bool,
    /// Whether and on what q4 matrices are calibrated.
    pub calibration: Calibration<'a>,
}

/// What the importance of weights is measured on; see [`crate::calibration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calibration<'a> {
    /// The text that comes with the program.
    #[default]
    BuiltIn,
    /// A text of the user's.
    Text(&'a str),
    /// Nothing: all weights count the same.
    Off,
}

impl Options<'_> {
    /// A file of one type, as far as the defaults go.
    #[must_use]
    pub const fn of(weights: DType) -> Self {
        Self { types: Types::of(weights), name: None, no_tokenizer: false, calibration: Calibration::BuiltIn }
    }
}

/// Who watches a conversion, and may end it.
pub trait Observer: Sync {
    /// It begins; the checkpoint has so many bytes of weights.
    fn start(&self, _source_bytes: u64) {}
    /// So many more of them are done.
    fn advance(&self, _source_bytes: u64) {}
    /// Whether to stop. Asked many times a second.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Nobody.
impl Observer for () {}

/// A conversion that is ready to run.
#[derive(Debug)]
pub struct Conversion<'c> {
    checkpoint: &'c Checkpoint,
    model: Model,
    types: ResolvedTypes,
    head: Head,
    entries: Vec<Entry>,
    sources: Vec<Source>,
    warnings: Vec<String>,
    source_bytes: u64,
    /// The text that the model is calibrated on, if it is.
    text: Option<&'c str>,
}

/// Bytes of a conversion that the progress counts for a calibration, for each byte of the source.
const CALIBRATION_SHARE: u64 = 3;

impl<'c> Conversion<'c> {
    /// Reads `config.json`, maps the model's tensors to those of the checkpoint, and checks names, shapes and types.
    ///
    /// # Errors
    /// What is missing, wrong or not supported.
    pub fn plan(checkpoint: &'c Checkpoint, options: &Options<'c>) -> Result<Self, ConvertError> {
        let model = Model::from_config(&checkpoint.config()?)?;
        let spec = model.spec();
        spec.check_supported()?;
        let types = options.types.resolve(&spec)?;
        let entries = writer::entries(&spec, |role| types.of(role)).ok_or(ConvertError::TooLarge)?;
        let prefix = model.prefix(|name| checkpoint.contains(name));
        let mut warnings = model.warnings().to_vec();
        let mut used = BTreeSet::new();
        let mut dtypes = BTreeSet::new();
        let mut source_bytes = 0;
        let mut sources = Vec::with_capacity(entries.len());
        for entry in &entries {
            let source = model.source(&entry.tensor, prefix);
            if let Source::Stored(parts) = &source {
                for part in parts {
                    let tensor = checkpoint.tensor(&part.name)?;
                    let expected = part.stored_shape();
                    if tensor.shape != expected {
                        let (file, name, got) = (tensor.file.to_owned(), part.name.clone(), tensor.shape.to_vec());
                        return Err(ConvertError::Shape { file, name, expected, got });
                    }
                    used.insert(part.name.clone());
                    dtypes.insert(tensor.dtype);
                    source_bytes += tensor.bytes.len() as u64;
                }
            }
            sources.push(source);
        }
        check_unused(checkpoint, &model, prefix, &used, &mut warnings)?;
        let name = options.name.map_or_else(|| folder_name(checkpoint.folder()), |name| name.chars().take(MAX_NAME).collect());
        let text = if options.no_tokenizer { Head::default() } else { text_sections(checkpoint, spec.vocab, &mut warnings)? };
        let text_of_calibration = match options.calibration {
            _ if options.no_tokenizer || entries.iter().all(|e| e.dtype != DType::Q4) => None,
            Calibration::BuiltIn => Some(calibration::BUILT_IN),
            Calibration::Text(text) => Some(text),
            Calibration::Off => None,
        };
        let head = Head { meta: meta(&name, &model, types, &dtypes, text_of_calibration), spec: model.spec_bytes().to_vec(), ..text };
        writer::layout(&head, &entries).ok_or(ConvertError::TooLarge)?;
        Ok(Self { checkpoint, model, types, head, entries, sources, warnings, source_bytes, text: text_of_calibration })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The types.
    #[must_use]
    pub fn types(&self) -> ResolvedTypes {
        self.types
    }

    /// What a user should know, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        // `plan` computed it before.
        writer::layout(&self.head, &self.entries).map_or(0, |layout| layout.file_bytes())
    }

    /// The report of a conversion that is not run: no errors of quantisation, no time.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::new(&self.model.spec(), &self.entries, self.file_bytes(), self.source_bytes)
    }

    /// Writes the file; `threads` are those of the machine by default.
    ///
    /// # Errors
    /// What is wrong with the output, or with a weight; the output is then as it was before.
    pub fn run(&self, out: &Path, replace: bool, threads: Option<NonZeroUsize>, observer: &dyn Observer) -> Result<Report, ConvertError> {
        if self.checkpoint.uses(out) {
            return Err(ConvertError::OutputIsInput { path: out.to_owned() });
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.map_or(0, NonZeroUsize::get)).build();
        let pool = pool.map_err(|e| ConvertError::Threads { error: e.to_string() })?;
        let started = Instant::now();
        let output = Output::create(out, self.file_bytes(), replace)?;
        observer.start(self.source_bytes * if self.text.is_some() { 2 + CALIBRATION_SHARE } else { 1 });
        let io = |error| ConvertError::Output(OutputError::io(out, error));
        let importance = match self.text {
            Some(text) => pool.install(|| self.calibrate(text, out, pool.current_num_threads(), observer))?,
            None => Importance::default(),
        };
        let (output, mut report) = pool.install(|| self.stream(self.entries.clone(), output, &importance, &io, observer))?;
        output.commit()?;
        report.seconds = Some(started.elapsed().as_secs_f64());
        Ok(report)
    }

    /// Writes a whole file with these entries.
    fn stream<W: Write + Seek + Send>(
        &self,
        entries: Vec<Entry>,
        out: W,
        importance: &Importance,
        io: &(dyn Fn(std::io::Error) -> ConvertError + Sync),
        observer: &dyn Observer,
    ) -> Result<(W, Report), ConvertError> {
        let mut writer = Writer::new(out, self.head.clone(), entries.clone()).map_err(io)?;
        let mut report = self.report();
        for (entry, source) in entries.iter().zip(&self.sources) {
            let rows = Rows::new(self.checkpoint, source)?;
            let importance = importance.of(entry.tensor.key);
            let stats = convert_tensor(entry, importance, &rows, &mut |bytes| writer.write(bytes).map_err(io), observer)?;
            report.add(entry, &stats);
        }
        Ok((writer.finish().map_err(io)?, report))
    }

    /// Runs the model on `text`, from a copy in f16 beside `out` (in f32 if a weight does not fit).
    fn calibrate(&self, text: &str, out: &Path, threads: usize, observer: &dyn Observer) -> Result<Importance, ConvertError> {
        let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let io = |error| ConvertError::CalibrationCopy { folder: folder.to_owned(), error };
        let copy = |dtype| -> Result<tempfile::NamedTempFile, ConvertError> {
            let file = tempfile::Builder::new().prefix(".calibration-").tempfile_in(folder).map_err(io)?;
            let entries = writer::entries(&self.model.spec(), |role| if role.is_matrix() { dtype } else { DType::F32 });
            let (file, _) = self.stream(entries.ok_or(ConvertError::TooLarge)?, file, &Importance::default(), &io, observer)?;
            Ok(file)
        };
        let file = match copy(DType::F16) {
            Err(ConvertError::Weight { .. }) => copy(DType::F32),
            other => other,
        }?;
        let map = kinglet::map::MappedFile::open(file.path()).map_err(|e| io(e.source))?;
        // The mapping keeps the copy; its name goes now, so that nothing stays behind however this ends.
        drop(file);
        let failed = |why: String| ConvertError::Calibration { why };
        let model = kinglet::model::Model::new(map.bytes()).map_err(|e| failed(e.to_string()))?;
        let tokenizer = model.tokenizer().ok_or_else(|| failed("the model has no tokenizer".to_owned()))?;
        let workers = kinglet::workers::Pool::new(threads).map_err(|e| ConvertError::Threads { error: e.to_string() })?;
        let share = (CALIBRATION_SHARE * self.source_bytes) as f64;
        let mut told = 0;
        let mut progress = |done: f64| {
            let bytes = (share * done) as u64;
            observer.advance(bytes - told);
            told = bytes;
            !observer.is_stopped()
        };
        let measured = Importance::measure(&model, tokenizer, text, &workers, &mut progress).map_err(failed)?;
        measured.ok_or(ConvertError::Interrupted)
    }
}

/// Converts one tensor and hands its bytes to `write`, in order.
fn convert_tensor(
    entry: &Entry,
    importance: Option<&[f32]>,
    rows: &Rows<'_>,
    write: &mut (dyn FnMut(&[u8]) -> Result<(), ConvertError> + Send),
    observer: &dyn Observer,
) -> Result<ErrorStats, ConvertError> {
    let n_tiles = entry.tensor.rows.div_ceil(LANES);
    let tiles_per_chunk = (CHUNK_BYTES / tile_bytes(entry)).clamp(1, n_tiles);
    let mut stats = ErrorStats::default();
    let (mut filling, mut full) = (Vec::new(), Vec::new());
    for first in (0..n_tiles).step_by(tiles_per_chunk) {
        let tiles = first..(first + tiles_per_chunk).min(n_tiles);
        let (converted, written) = rayon::join(
            || convert_tiles(entry, importance, rows, tiles, &mut filling, observer),
            || if full.is_empty() { Ok(()) } else { write(&full) },
        );
        written?;
        stats.merge(&converted?);
        std::mem::swap(&mut filling, &mut full);
    }
    write(&full)?;
    Ok(stats)
}

/// Bytes of a whole tile: 8 rows.
fn tile_bytes(entry: &Entry) -> usize {
    // The whole tensor's size does not overflow: the directory was made.
    entry.dtype.matrix_bytes(LANES.min(entry.tensor.rows), entry.tensor.cols).map_or(1, |n| n.max(1))
}

/// Fills `out` with some tiles of a tensor, each by one thread.
fn convert_tiles(
    entry: &Entry,
    importance: Option<&[f32]>,
    rows: &Rows<'_>,
    tiles: Range<usize>,
    out: &mut Vec<u8>,
    observer: &dyn Observer,
) -> Result<ErrorStats, ConvertError> {
    let (cols, end) = (entry.tensor.cols, (tiles.end * LANES).min(entry.tensor.rows));
    let len = entry.dtype.matrix_bytes(end - tiles.start * LANES, cols).ok_or(ConvertError::TooLarge)?;
    out.resize(len, 0);
    let results: Vec<Result<ErrorStats, ConvertError>> = out
        .par_chunks_mut(tile_bytes(entry))
        .enumerate()
        .map_init(
            || (vec![0.0; LANES * cols], vec![0.0; cols]),
            |(values, decoded), (i, bytes)| {
                if observer.is_stopped() {
                    return Err(ConvertError::Interrupted);
                }
                let first = (tiles.start + i) * LANES;
                let n = LANES.min(end - first);
                let stats = convert_tile(entry.dtype, importance, rows, first, &mut values[..n * cols], decoded, bytes)?;
                observer.advance((n * rows.bytes_per_row()) as u64);
                Ok(stats)
            },
        )
        .collect();
    // In order, so that sums of floats, and the first of several errors, are the same for any number of threads.
    results.into_iter().try_fold(ErrorStats::default(), |mut sum, stats| {
        sum.merge(&stats?);
        Ok(sum)
    })
}

/// Converts the rows from `first` on that fill `values`.
fn convert_tile(
    dtype: DType,
    importance: Option<&[f32]>,
    rows: &Rows<'_>,
    first: usize,
    values: &mut [f32],
    decoded: &mut [f32],
    out: &mut [u8],
) -> Result<ErrorStats, ConvertError> {
    let cols = decoded.len();
    for (i, row) in values.chunks_exact_mut(cols).enumerate() {
        rows.read(first + i, row);
        if let Some(col) = row.iter().position(|w| !w.is_finite()) {
            return Err(rows.weight_error(first + i, col, row[col], "is not a finite number"));
        }
    }
    let views: Vec<&[f32]> = values.chunks_exact(cols).collect();
    let refused = |e: QuantiseError| match e {
        QuantiseError::TooLarge { row, col } | QuantiseError::NonFinite { row, col } => {
            rows.weight_error(first + row, col, views[row][col], "is too large to be quantised")
        }
        _ => ConvertError::Quantise(e),
    };
    let mut stats = ErrorStats::default();
    match dtype {
        DType::F32 => {
            float::write_f32(values, out);
            stats.add(values, values);
            return Ok(stats);
        }
        DType::F16 => {
            if let Some(at) = values.iter().position(|&w| !float::fits_f16(w)) {
                return Err(rows.weight_error(first + at / cols, at % cols, values[at], "does not fit f16, whose largest number is 65504"));
            }
            float::write_f16(values, out);
        }
        DType::Q8 => q8::quantise_tile(&views, importance, out).map_err(refused)?,
        DType::Q4 => q4::quantise_tile(&views, importance, out).map_err(refused)?,
    }
    for (lane, row) in views.iter().enumerate() {
        match dtype {
            DType::Q8 => q8::read_row(out, lane, decoded),
            DType::Q4 => q4::read_row(out, lane, decoded),
            _ => float::read_f16(&out[2 * lane * cols..], decoded),
        }
        stats.add(row, decoded);
    }
    Ok(stats)
}

/// Every tensor of the checkpoint must be used: one that is not shows that the model is not what it seems.
fn check_unused(
    checkpoint: &Checkpoint,
    model: &Model,
    prefix: &str,
    used: &BTreeSet<String>,
    warnings: &mut Vec<String>,
) -> Result<(), ConvertError> {
    for name in checkpoint.names().filter(|name| !used.contains(*name) && !model.is_buffer(name)) {
        if name == model.head_name() && model.spec().head == spec::Head::Tied {
            let (head, embedding) = (checkpoint.tensor(name)?, checkpoint.tensor(&model.embedding_name(prefix))?);
            if head.bytes != embedding.bytes {
                warnings.push(format!(
                    "tensor `{name}` differs from `{}` and is ignored: config.json says that they are one (tie_word_embeddings)",
                    embedding.name
                ));
            }
            continue;
        }
        return Err(ConvertError::UnusedTensor { name: name.to_owned(), family: model.family() });
    }
    Ok(())
}

/// What a model is called when nobody says: its folder's name, or in a Hugging Face cache that of its repository.
fn folder_name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let names: Vec<_> = folder.iter().rev().take(3).map(|name| name.to_string_lossy()).collect();
    match &names[..] {
        [_, snapshots, repository] if snapshots == "snapshots" && repository.starts_with("models--") => {
            repository["models--".len()..].replacen("--", "/", 1)
        }
        [name, ..] => name.chars().take(MAX_NAME).collect(),
        [] => String::new(),
    }
}

fn meta(name: &str, model: &Model, types: ResolvedTypes, sources: &BTreeSet<SourceType>, text: Option<&str>) -> Vec<u8> {
    let calibration = match text {
        None => "none".to_owned(),
        Some(calibration::BUILT_IN) => "built-in".to_owned(),
        Some(text) => format!("sha256:{}", digest::hex(&digest::sha256(text.as_bytes()))),
    };
    let sources: Vec<_> = sources.iter().map(|dtype| dtype.name()).collect();
    writer::meta_lines([
        ("calibration", calibration.as_str()),
        ("name", name),
        ("family", model.family()),
        ("type", types.weights.name()),
        ("embed_type", types.embed.name()),
        ("head_type", types.head.name()),
        ("source_type", &sources.join(",")),
        ("tool", concat!("kinglet-tools ", env!("CARGO_PKG_VERSION"))),
    ])
}

/// The sections that turn text into tokens, and conversations into text.
fn text_sections(checkpoint: &Checkpoint, vocab: u32, warnings: &mut Vec<String>) -> Result<Head, ConvertError> {
    let Some(json) = checkpoint.text("tokenizer.json")? else { return Err(ConvertError::NoTokenizer) };
    let (config, generation) = (checkpoint.text("tokenizer_config.json")?, checkpoint.text("generation_config.json")?);
    let (config, generation) = (config.as_deref().map(str::as_bytes), generation.as_deref().map(str::as_bytes));
    let compiled = tokenizer_compiler::compile(json.as_bytes(), config, generation, vocab)?;
    warnings.extend(compiled.notes);
    let template = checkpoint.text("chat_template.jinja")?;
    let chat = chat_section(template, config, compiled.bos.as_deref(), compiled.eos.as_deref(), warnings);
    Ok(Head { tokenizer: compiled.section, chat, ..Head::default() })
}

/// The chat section of a template, which stands in a file of its own or in `tokenizer_config.json`. Empty without a
/// template, and where it cannot be expressed: the model then still continues text, and a warning says why.
fn chat_section(
    template: Option<String>,
    config: Option<&[u8]>,
    bos: Option<&str>,
    eos: Option<&str>,
    warnings: &mut Vec<String>,
) -> Vec<u8> {
    let find = || match (template, config) {
        (None, Some(config)) => chat_template::find(config),
        (template, _) => Ok(template),
    };
    match find().and_then(|template| template.map(|t| chat_template::compile(&t, bos, eos)).transpose()) {
        Ok(None) => Vec::new(),
        Ok(Some(compiled)) => {
            warnings.extend(compiled.notes);
            compiled.section
        }
        Err(e) => {
            warnings.push(format!("the file has no chat format: {e}"));
            Vec::new()
        }
    }
}

/// Why a checkpoint cannot be converted.
#[derive(Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "field names say it; the variants carry the docs")]
pub enum ConvertError {
    /// The checkpoint cannot be read.
    Checkpoint(CheckpointError),
    /// Its configuration is wrong or not supported.
    Config(ConfigError),
    /// The runtime does not run such a model.
    Spec(SpecError),
    /// Embedding and head are one matrix and were given two types.
    TiedTypes { embed: DType, head: DType },
    /// A tensor has another shape than the configuration implies.
    Shape { file: String, name: String, expected: Vec<usize>, got: Vec<usize> },
    /// A tensor that the family knows nothing of.
    UnusedTensor { name: String, family: &'static str },
    /// There is no tokenizer.json.
    NoTokenizer,
    /// The tokenizer cannot be compiled.
    Tokenizer(TokenizerCompileError),
    /// A weight that cannot be stored. Row and column are those of the checkpoint's tensor.
    Weight { name: String, file: String, row: usize, col: usize, value: f32, problem: &'static str },
    /// A quantiser's refusal that names no weight.
    Quantise(QuantiseError),
    /// A size does not fit this machine's integers.
    TooLarge,
    /// The output cannot be written.
    Output(OutputError),
    /// The output is a file of the checkpoint.
    OutputIsInput { path: PathBuf },
    /// The copy that the model is calibrated with cannot be written or read.
    CalibrationCopy { folder: PathBuf, error: std::io::Error },
    /// The model cannot be calibrated.
    Calibration { why: String },
    /// Threads cannot be started.
    Threads { error: String },
    /// The observer stopped it.
    Interrupted,
}

impl From<CheckpointError> for ConvertError {
    fn from(e: CheckpointError) -> Self {
        Self::Checkpoint(e)
    }
}

impl From<ConfigError> for ConvertError {
    fn from(e: ConfigError) -> Self {
        Self::Config(e)
    }
}

impl From<SpecError> for ConvertError {
    fn from(e: SpecError) -> Self {
        Self::Spec(e)
    }
}

impl From<TokenizerCompileError> for ConvertError {
    fn from(e: TokenizerCompileError) -> Self {
        Self::Tokenizer(e)
    }
}

impl From<OutputError> for ConvertError {
    fn from(e: OutputError) -> Self {
        Self::Output(e)
    }
}

impl std::fmt::Display for ConvertError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checkpoint(e) => e.fmt(f),
            Self::Config(e) => e.fmt(f),
            Self::Spec(e) => e.fmt(f),
            Self::CalibrationCopy { folder, error } => {
                write!(f, "{}: the copy of the model for the calibration: {error}; --no-calibration does without", folder.display())
            }
            Self::Calibration { why } => write!(f, "calibration: {why}; --no-calibration does without"),
            Self::TiedTypes { embed, head } => {
                write!(f, "embedding ({embed}) and head ({head}) are one matrix in this model: give one type for both")
            }
            Self::Shape { file, name, expected, got } => {
                write!(f, "{file}: tensor `{name}`: expected shape {expected:?} as config.json has it, got {got:?}")
            }
            Self::UnusedTensor { name, family } => {
                write!(
                    f,
                    "tensor `{name}` has no place in a {family} model as config.json describes it; the file would not be the same model"
                )
            }
            Self::NoTokenizer => write!(f, "tokenizer.json is missing; --no-tokenizer makes a file that takes and gives token ids only"),
            Self::Tokenizer(e) => e.fmt(f),
            Self::Weight { name, file, row, col, value, problem } => {
                write!(f, "{file}: tensor `{name}`, row {row}, column {col}: the weight {value:e} {problem}")
            }
            Self::Quantise(e) => e.fmt(f),
            Self::TooLarge => write!(f, "the model's size overflows this machine's integers"),
            Self::Output(e) => e.fmt(f),
            Self::OutputIsInput { path } => write!(f, "{}: is a file of the checkpoint; choose another output", path.display()),
            Self::Threads { error } => write!(f, "cannot start threads: {error}"),
            Self::Interrupted => write!(f, "interrupted; nothing was written"),
        }
    }
}

impl std::error::Error for ConvertError {}
