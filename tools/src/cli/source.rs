//! What a path stands for: a model file, a checkpoint's folder, or its configuration alone.

use super::engine;
use super::out::{Failure, usage};
use crate::checkpoint::Checkpoint;
use crate::convert::{Conversion, ResolvedTypes, Types};
use crate::family::Model;
use crate::writer;
use kinglet::format::{Container, Section};
use kinglet::map::MappedFile;
use kinglet_quant::DType;
use std::path::{Path, PathBuf};

/// The source of a model, not yet read.
#[derive(Debug)]
pub(crate) enum Source {
    File(MappedFile),
    Folder(Checkpoint),
    Config(String),
}

/// Sizes of a file, written or yet to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileSizes {
    /// The whole file.
    pub(crate) bytes: u64,
    /// The data section.
    pub(crate) weights: u64,
    /// The tokenizer is not counted, because a configuration has none.
    pub(crate) lacks_tokenizer: bool,
}

impl Source {
    /// Opens what `path` leads to.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if path.is_dir() {
            return Checkpoint::open(path).map(Source::Folder).map_err(super::out::error);
        }
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            return std::fs::read_to_string(path).map(Source::Config).map_err(|e| Failure::file(path, e));
        }
        engine::open(path).map(Source::File)
    }

    /// The configuration's text; `None` for a model file.
    pub(crate) fn config(&self, path: &Path) -> Result<Option<String>, Failure> {
        match self {
            Source::File(_) => Ok(None),
            Source::Folder(checkpoint) => checkpoint.config().map(Some).map_err(|e| Failure::file(path, e)),
            Source::Config(text) => Ok(Some(text.clone())),
        }
    }
}

/// Element types of a file that is not yet written.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct TypeArgs {
    /// Type of the weights, for a folder or a configuration: q4, q8, f16 or f32 [default: q4]
    #[arg(long = "type", value_name = "T", value_parser = dtype)]
    pub(crate) weights: Option<DType>,

    /// Type of the embedding [default: as `quantize` chooses]
    #[arg(long, value_name = "T", value_parser = dtype)]
    pub(crate) embed_type: Option<DType>,

    /// Type of the output head [default: as `quantize` chooses]
    #[arg(long, value_name = "T", value_parser = dtype)]
    pub(crate) head_type: Option<DType>,
}

fn dtype(name: &str) -> Result<DType, String> {
    DType::ALL.into_iter().find(|t| t.name() == name).ok_or_else(|| "expected q4, q8, f16 or f32".to_owned())
}

impl TypeArgs {
    /// The types asked for.
    pub(crate) fn types(&self) -> Types {
        Types { weights: self.weights.unwrap_or(DType::Q4), embed: self.embed_type, head: self.head_type }
    }

    /// A file's types are what they are.
    pub(crate) fn refuse_for_file(&self, path: &Path) -> Result<(), Failure> {
        if self.weights.or(self.embed_type).or(self.head_type).is_some() {
            return Err(usage(format_args!("{}: a model file has its types; --type is for folders and configurations", path.display())));
        }
        Ok(())
    }
}

/// The sizes of a model file.
pub(crate) fn sizes_of_file(container: &Container<'_>) -> FileSizes {
    let layout = container.layout();
    FileSizes { bytes: layout.file_bytes(), weights: layout.len(Section::Data), lacks_tokenizer: false }
}

/// The sizes of the file that `quantize` would make of a folder.
pub(crate) fn sizes_of_conversion(conversion: &Conversion<'_>, types: ResolvedTypes) -> Option<FileSizes> {
    let entries = writer::entries(&conversion.model().spec(), |role| types.of(role))?;
    let weights = entries.last().map_or(Some(0), |last| last.offset.checked_add(last.len_bytes()?))?;
    Some(FileSizes { bytes: conversion.file_bytes(), weights, lacks_tokenizer: false })
}

/// The sizes of the file that `quantize` would make of a folder with this configuration, without its tokenizer.
pub(crate) fn sizes_of_config(model: &Model, types: Types, path: &Path) -> Result<FileSizes, Failure> {
    let spec = model.spec();
    let types = types.resolve(&spec).map_err(|e| Failure::file(path, e))?;
    let too_large = || Failure::file(path, "the sizes do not fit 64 bits");
    let entries = writer::entries(&spec, |role| types.of(role)).ok_or_else(too_large)?;
    let head = writer::Head { spec: model.spec_bytes().to_vec(), ..writer::Head::default() };
    let layout = writer::layout(&head, &entries).ok_or_else(too_large)?;
    Ok(FileSizes { bytes: layout.file_bytes(), weights: layout.len(Section::Data), lacks_tokenizer: true })
}

/// The name of a source for people: file or folder name.
pub(crate) fn name(path: &Path) -> String {
    let path: PathBuf = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}
