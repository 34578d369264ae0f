//! `kinglet verify`: every byte of a file is what its writer wrote.

use super::engine;
use super::out::{Done, Failure, Progress, say, text};
use super::text::{count, size_exact, thousands};
use crate::digest::{self, hex};
use kinglet::format::{Container, Entry, Section};
use kinglet::tokenizer::Tokenizer;
use kinglet_quant::{BLOCK, DType, LANES, UNIT, q4, q8};
use std::path::PathBuf;

/// Check a file: structure, digests of head and tensors, tokenizer, chat format, padding, finite scales
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet verify smol.kgl            exit code 0: every byte is as it was written
  kinglet verify smol.kgl --hashes   SHA-256, type, shape and name of every tensor, to compare two files")]
pub(crate) struct VerifyArgs {
    /// Model file (.kgl)
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print a line per tensor: SHA-256, type, shape, name
    #[arg(long)]
    hashes: bool,
}

/// The first fault of a tensor's bytes that its digest cannot show, because a writer put it there.
fn fault(container: &Container<'_>, entry: &Entry) -> Option<String> {
    let matrix = container.matrix(entry);
    if matrix.dtype().is_quantised() {
        return (0..matrix.tiles()).find_map(|index| {
            let tile = matrix.tile(index);
            let rows = LANES.min(matrix.rows() - index * LANES);
            let good = if matrix.dtype() == DType::Q4 { q4::check_tile(tile) } else { q8::check_tile(tile) };
            if !good {
                return Some(format!("tile {index}: expected finite row scales and quants above -128"));
            }
            let padded = matrix.cols().next_multiple_of(UNIT);
            let bad = (0..LANES)
                .find(|&lane| !padding_is_zero(matrix.dtype(), tile, lane, if lane < rows { matrix.cols() } else { 0 }, padded))?;
            Some(format!("tile {index}, row {bad}: expected zeros in the padding"))
        });
    }
    let mut row = vec![0.0; matrix.cols()];
    (0..matrix.rows()).find_map(|index| {
        matrix.read_row(index, &mut row);
        let col = row.iter().position(|w| !w.is_finite())?;
        Some(format!("row {index}, column {col}: expected a finite weight, got {}", row[col]))
    })
}

/// Whether the inputs `cols..padded` of a row of a tile, which only pad, hold zeros; with `cols` 0, the whole row.
fn padding_is_zero(dtype: DType, tile: &[u8], lane: usize, cols: usize, padded: usize) -> bool {
    let (head, unit_bytes) = if dtype == DType::Q4 { (q4::HEAD_BYTES, q4::UNIT_BYTES) } else { (q8::HEAD_BYTES, q8::UNIT_BYTES) };
    let unit = |col: usize| &tile[head + col / UNIT * unit_bytes..][..unit_bytes];
    let quant_is_zero = |col: usize| match dtype {
        DType::Q4 => {
            let (byte, shift) = q4::nibble_at(lane, col % UNIT);
            unit(col)[byte] >> shift & q4::QUANT_MAX == 0
        }
        _ => unit(col)[q8::quant_at(lane, col % UNIT)] == 0,
    };
    let block_is_zero = |col: usize| {
        let block = col % UNIT / BLOCK;
        match dtype {
            DType::Q4 => unit(col)[q4::scale_at(lane, block)] == 0 && unit(col)[q4::min_at(lane, block)] == 0,
            _ => unit(col)[q8::scale_at(lane, block)] == 0,
        }
    };
    let head_is_zero = || (0..head / 4).filter(|at| at % LANES == lane).all(|at| tile[4 * at..4 * at + 4] == [0; 4]);
    (cols..padded).all(quant_is_zero)
        && (cols.next_multiple_of(BLOCK)..padded).step_by(BLOCK).all(block_is_zero)
        && (cols > 0 || head_is_zero())
}

pub(crate) fn run(args: &VerifyArgs) -> Done {
    let file = engine::open(&args.file)?;
    let bytes = file.bytes();
    let bad = |what: String| Failure::file(&args.file, what);
    let container = Container::parse(bytes).map_err(|e| Failure::file(&args.file, e))?;
    let mut faults = Vec::new();

    let data_at = container.layout().offset(Section::Data) as usize;
    let got = digest::of_head(&bytes[..data_at]);
    if got[..] != *container.head_digest() {
        faults.push(format!("head: expected digest {}, got {}", hex(container.head_digest()), hex(&got)));
    }

    let (tokenizer, chat) = (container.section(Section::Tokenizer), container.section(Section::Chat));
    if !tokenizer.is_empty()
        && let Err(e) = Tokenizer::parse(tokenizer, container.spec().vocab)
    {
        faults.push(format!("tokenizer: {e}"));
    }
    faults.extend(super::chat::roles(&container).err());
    if tokenizer.is_empty() && !chat.is_empty() {
        faults.push(format!("chat: expected none in a file without a tokenizer, got {} bytes", chat.len()));
    }

    let data = container.section(Section::Data);
    let mut progress = Progress::new(data.len() as u64, "verify");
    let mut listing = String::new();
    let mut end = 0usize;
    for entry in container.entries() {
        let name = entry.tensor.key;
        let start = entry.offset as usize;
        if let Some(at) = data.get(end..start).and_then(|gap| gap.iter().position(|&b| b != 0)) {
            faults.push(format!("padding before {name}: expected zeros, got {:#04x} at byte {}", data[end + at], data_at + end + at));
        }
        let tensor = container.tensor_bytes(&entry);
        end = start + tensor.len();
        let digest = digest::sha256(tensor);
        if digest != entry.digest {
            faults.push(format!("{name}: expected digest {}, got {}", hex(&entry.digest), hex(&digest)));
        }
        faults.extend(fault(&container, &entry).map(|fault| format!("{name}: {fault}")));
        if args.hashes {
            listing += &format!("{}  {:4} {:>7} x {:<7} {name}\n", hex(&digest), entry.dtype, entry.tensor.rows, entry.tensor.cols);
        }
        progress.advance(tensor.len() as u64, name.to_string());
    }
    drop(progress);
    text(listing.as_bytes())?;
    if let Some((first, rest)) = faults.split_first() {
        let more = if rest.is_empty() { String::new() } else { rest.iter().map(|f| format!("\n  {f}")).collect() };
        return Err(bad(format!(
            "{first}{more}\n{} found; the file is damaged or was made by a faulty writer",
            count(faults.len() as u64, "fault")
        )));
    }
    if !args.hashes {
        say!("{}: good. {} tensors, {}", args.file.display(), thousands(container.n_tensors() as u64), size_exact(bytes.len() as u64))?;
        let has = |section: &[u8]| if section.is_empty() { "none" } else { "good" };
        say!("tokenizer {}, chat format {}", has(tokenizer), has(chat))?;
        say!("head {}", hex(container.head_digest()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_seen_wherever_it_is_broken() {
        for (dtype, head, unit) in [(DType::Q4, q4::HEAD_BYTES, q4::UNIT_BYTES), (DType::Q8, q8::HEAD_BYTES, q8::UNIT_BYTES)] {
            // 96 columns: the second unit is half padding. Every bit of a row that must be all zeros is looked at.
            let clean = vec![0u8; head + 2 * unit];
            let whole = (0..LANES).map(|lane| padding_is_zero(dtype, &clean, lane, 0, 128));
            assert!(whole.into_iter().all(|ok| ok));
            for at in 0..clean.len() {
                let mut tile = clean.clone();
                tile[at] = 0x11;
                let seen = (0..LANES).filter(|&lane| !padding_is_zero(dtype, &tile, lane, 0, 128)).count();
                assert_eq!(seen, 1, "{dtype}: byte {at} belongs to one row");
            }
            let mut tile = clean.clone();
            tile[head] = 1;
            assert!(padding_is_zero(dtype, &tile, 0, 96, 128), "{dtype}: the first input is no padding");
        }
    }
}
