//! `kinglet selftest`: this machine computes the bits that every machine computes.

use super::Global;
use super::embedded::Embedded;
use super::engine::{self, Machine};
use super::options;
use super::out::{Done, Failure, error, interrupt, say};
use super::text::thousands;
use crate::convert::Calibration;
use crate::digest::{hex, sha256};
use crate::golden::{self, Golden, TOKENS};
use kinglet::format::Section;
use kinglet::isa::Isa;
use kinglet::kernels::{Kernels, contract};
use kinglet::map::MappedFile;
use kinglet::model::Model;
use kinglet::session::{Options, Plan};
use kinglet::tokenizer::TokenId;
use std::path::{Path, PathBuf};

/// Hold this machine's kernels to their contract, and a whole model to its golden logits
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet selftest                 every instruction set that this machine has
  kinglet selftest --isa scalar    one of them
  kinglet selftest -m q4.kgl -m q8.kgl    without quantising here, which takes minutes on a slow or emulated machine

Exit code 0: every kernel gave the bits of the scalar kernels, and the embedded model, quantised here, the logits that \
every machine gives, with 1 to 4 threads and several batch sizes.")]
pub(crate) struct SelftestArgs {
    /// Threads, at most
    #[arg(short = 't', long, value_name = "N", value_parser = options::threads, default_value = "4")]
    threads: usize,

    /// A file of the embedded model, made by `quantize` elsewhere: it is not quantised here then. May be repeated
    #[arg(short = 'm', long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
}

/// Batch sizes: one by one, one that divides nothing, the default.
const BATCHES: [usize; 3] = [1, 7, options::DEFAULT_BATCH];

fn hash(model: &Model<'_>, machine: &Machine, batch: usize) -> Result<u64, Failure> {
    let plan = Plan::new(model.spec(), Options { context: TOKENS, batch, ..Options::default() }).map_err(error)?;
    let mut arena = engine::arena(&plan)?;
    let mut session = engine::session(model, &plan, &mut arena, machine)?;
    let tokens: Vec<TokenId> = (0..TOKENS).map(|i| golden::token(i, model.spec().vocab)).collect();
    Ok(golden::logits_hash(session.prefill(&tokens).map_err(error)?))
}

/// The batch sizes to try with so many threads. What is the same for all instruction sets, how threads and batches meet, is
/// tried with the best of them; the others have each size and each number of threads.
fn batches(threads: usize, is_best: bool) -> impl Iterator<Item = usize> {
    let wanted = move |(i, _): &(usize, usize)| is_best || threads == 1 || *i == threads % BATCHES.len();
    BATCHES.into_iter().enumerate().filter(wanted).map(|(_, batch)| batch)
}

/// A file of the embedded model, known by its weights.
fn given(path: &Path) -> Result<(Golden, PathBuf, MappedFile), Failure> {
    let file = engine::open(path)?;
    let model = engine::model(path, &file)?;
    let digest = hex(&sha256(model.container().section(Section::Data)));
    let golden = golden::TINY.into_iter().find(|golden| golden.data == digest);
    let golden = golden.ok_or_else(|| {
        let known = golden::TINY.map(|golden| format!("{} ({})", golden.data, golden.dtype));
        Failure::file(path, format_args!("expected the embedded model's weights, whose SHA-256 is {}; got {digest}", known.join(" or ")))
    })?;
    Ok((golden, path.to_owned(), file))
}

pub(crate) fn run(global: Global, args: &SelftestArgs) -> Done {
    interrupt::install();
    let isas: Vec<Isa> = match global.isa {
        Some(_) => vec![engine::kernels(global)?.isa],
        None => Isa::available().collect(),
    };
    let mut faults = 0;
    for &isa in &isas {
        let Some(kernels) = Kernels::select(isa) else { continue };
        let (mut entries, mut cases, mut bad) = (0u64, 0u64, Vec::new());
        contract::check(kernels, |entry, outcome| {
            entries += 1;
            match outcome {
                Ok(n) => cases += n as u64,
                Err(mismatch) => bad.push(format!("{isa}/{entry}: expected the bits of scalar; {mismatch}")),
            }
        });
        faults += bad.len();
        let state = if bad.is_empty() { "ok" } else { "FAILED" };
        say!("{state:6} {isa}: {} kernels in {} cases give the bits of scalar", thousands(entries), thousands(cases))?;
        for line in bad {
            say!("       {line}")?;
        }
        if interrupt::asked() {
            return Err(Failure::Interrupted);
        }
    }
    let given = args.models.iter().map(|path| given(path)).collect::<Result<Vec<_>, _>>()?;
    let tiny = Embedded::unpack()?;
    for golden in golden::TINY {
        let (dtype, golden) = (golden.dtype, golden.logits);
        let converted;
        let (path, file) = match given.iter().find(|(golden, ..)| golden.dtype == dtype) {
            Some((_, path, file)) => (path, file),
            None => {
                converted = tiny.convert(dtype, Calibration::BuiltIn)?;
                (&converted.0, &converted.1)
            }
        };
        let model = engine::model(path, file)?;
        for &isa in &isas {
            let mut bad = Vec::new();
            for threads in 1..=args.threads {
                let machine = Machine::anywhere(Global { isa: Some(isa), ..global }, threads)?;
                for batch in batches(threads, isas.last() == Some(&isa)) {
                    let got = hash(&model, &machine, batch)?;
                    if got != golden {
                        bad.push(format!("{threads} threads, batch {batch}: expected logits {golden:016x}, got {got:016x}"));
                    }
                }
                if interrupt::asked() {
                    return Err(Failure::Interrupted);
                }
            }
            faults += bad.len();
            let state = if bad.is_empty() { "ok" } else { "FAILED" };
            say!("{state:6} {isa}: logits {golden:016x} of the tiny model at {dtype}, 1 to {} threads, batches {BATCHES:?}", args.threads)?;
            for line in bad {
                say!("       {line}")?;
            }
        }
    }
    if faults > 0 {
        Err(error(format_args!("{faults} checks failed: this machine, or this build, computes wrong results")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_and_every_number_of_threads_is_tried() {
        assert_eq!(batches(1, false).collect::<Vec<_>>(), BATCHES);
        let with_more: Vec<usize> = (2..=4).flat_map(|threads| batches(threads, false)).collect();
        assert_eq!(with_more, [BATCHES[2], BATCHES[0], BATCHES[1]]);
        assert!((1..=4).all(|threads| batches(threads, true).eq(BATCHES)));
    }
}
