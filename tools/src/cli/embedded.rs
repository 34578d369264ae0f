//! The tiny model inside this program: a checkpoint, converted anew wherever it is needed.

use super::engine;
use super::out::{Failure, error};
use crate::checkpoint::Checkpoint;
use crate::convert::{Calibration, Conversion, Options};
use crate::report::Report;
use kinglet::map::MappedFile;
use kinglet_quant::DType;
use std::path::PathBuf;
use tempfile::TempDir;

macro_rules! files {
    ($($name:literal),+) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/tiny/", $name)).as_slice())),+]
    };
}

/// The checkpoint's files.
static FILES: [(&str, &[u8]); 5] =
    files!["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

/// The checkpoint in a folder that goes with this value.
pub(crate) struct Embedded {
    folder: TempDir,
    checkpoint: Checkpoint,
}

impl Embedded {
    /// Unpacks it.
    pub(crate) fn unpack() -> Result<Self, Failure> {
        let in_temp = |e: std::io::Error| Failure::file(&std::env::temp_dir(), e);
        let folder = tempfile::Builder::new().prefix("kinglet-").tempdir().map_err(in_temp)?;
        let path = folder.path().join("tiny");
        std::fs::create_dir(&path).map_err(in_temp)?;
        for (name, bytes) in FILES {
            std::fs::write(path.join(name), bytes).map_err(in_temp)?;
        }
        let checkpoint = Checkpoint::open(&path).map_err(error)?;
        Ok(Self { folder, checkpoint })
    }

    /// Bytes of its weights.
    pub(crate) fn bytes(&self) -> u64 {
        FILES.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// The file of this type; beside it what its conversion reports.
    pub(crate) fn convert(&self, dtype: DType, calibration: Calibration<'_>) -> Result<(PathBuf, MappedFile, Report), Failure> {
        let path = self.folder.path().join(format!("tiny-{dtype}.kgl"));
        let conversion =
            Conversion::plan(&self.checkpoint, &Options { name: Some("tiny"), calibration, ..Options::of(dtype) }).map_err(error)?;
        let report = conversion.run(&path, true, None, &()).map_err(error)?;
        let file = engine::open(&path)?;
        Ok((path, file, report))
    }
}
