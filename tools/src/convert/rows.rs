//! The rows of a tensor, wherever its parts lie.

use super::ConvertError;
use crate::checkpoint::{Checkpoint, CheckpointError, SourceTensor};
use crate::family::{Part, Source};

/// Reads rows of a tensor of the file, widened to f32.
pub(super) enum Rows<'c> {
    /// Parts, with the first row of each (of vectors: the first column).
    Stored(Vec<(usize, Part, SourceTensor<'c>)>),
    /// One row.
    Computed(&'c [f32]),
}

impl<'c> Rows<'c> {
    pub(super) fn new(checkpoint: &'c Checkpoint, source: &'c Source) -> Result<Self, CheckpointError> {
        let parts = match source {
            Source::Computed(values) => return Ok(Self::Computed(values)),
            Source::Stored(parts) => parts,
        };
        let mut start = 0;
        let stored = parts.iter().map(|part| {
            let first = start;
            start += if part.vector { part.cols } else { part.rows };
            Ok((first, part.clone(), checkpoint.tensor(&part.name)?))
        });
        Ok(Self::Stored(stored.collect::<Result<_, CheckpointError>>()?))
    }

    /// Bytes of a row in the checkpoint: the first part's, for all.
    pub(super) fn bytes_per_row(&self) -> usize {
        match self {
            Self::Computed(_) => 0,
            Self::Stored(parts) => {
                let bytes: usize = parts.iter().map(|(_, _, tensor)| tensor.bytes.len()).sum();
                let rows: usize = if parts[0].1.vector { 1 } else { parts.iter().map(|(_, part, _)| part.rows).sum() };
                bytes / rows
            }
        }
    }

    pub(super) fn read(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Computed(values) => out.copy_from_slice(values),
            Self::Stored(parts) if parts[0].1.vector => {
                for (first, part, tensor) in parts {
                    tensor.read(0, 1, &mut out[*first..first + part.cols]);
                }
            }
            Self::Stored(parts) => {
                let (first, part, tensor) = Self::part_at(parts, row);
                let row = row - first;
                if part.transposed { tensor.read(row, part.rows, out) } else { tensor.read(row * part.cols, 1, out) }
            }
        }
    }

    fn part_at<'p>(parts: &'p [(usize, Part, SourceTensor<'c>)], at: usize) -> &'p (usize, Part, SourceTensor<'c>) {
        let after = parts.partition_point(|(first, _, _)| *first <= at);
        &parts[after - 1]
    }

    /// The error for a weight, placed as it is in the checkpoint.
    pub(super) fn weight_error(&self, row: usize, col: usize, value: f32, problem: &'static str) -> ConvertError {
        let (name, file, row, col) = match self {
            Self::Computed(_) => ("rotary frequencies", "config.json", row, col),
            Self::Stored(parts) if parts[0].1.vector => {
                let (first, _, tensor) = Self::part_at(parts, col);
                (tensor.name, tensor.file, 0, col - first)
            }
            Self::Stored(parts) => {
                let (first, part, tensor) = Self::part_at(parts, row);
                let (row, col) = if part.transposed { (col, row - first) } else { (row - first, col) };
                (tensor.name, tensor.file, row, col)
            }
        };
        ConvertError::Weight { name: name.into(), file: file.into(), row, col, value, problem }
    }
}
