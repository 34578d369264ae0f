//! `kinglet bench`: tokens a second, against what the machine's memory allows.

mod report;

use super::bandwidth::Probe;
use super::divergence::Mean;
use super::engine::{self, Machine};
use super::hardware::Hardware;
use super::hardware::affinity::{self, Granted};
use super::hardware::cores::Cores;
use super::hardware::root::Root;
use super::hardware::watch::{Log, watch};
use super::options::{self, DEFAULT_BATCH, MAX_THREADS, positive};
use super::out::{Done, Failure, Progress, error, interrupt, note, say, text, usage};
use super::text::{count, rate};
use super::{Global, memory};
use crate::digest::hex;
use crate::golden::token;
use kinglet::kv::CacheType;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Session};
use kinglet::spec::Spec;
use kinglet::tokenizer::TokenId;
use report::{Moment, Report};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Measure the speed of prompts and of generation
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet bench -m smol.kgl
  kinglet bench -m smol.kgl -d 0,4096                    a row for docs/boards.md stands at the end
  kinglet bench -m smol.kgl -p 512 -n 128 -d 0,4096 -r 5 -t 1,2 -o json

pp512 evaluates 512 tokens at once, tg128 128 tokens one by one; `@ d4096` behind 4,096 tokens of context. Loading and \
one run to warm up are not counted. GB/s are the weights and the cache that a generated token reads; `of memory` is \
their share of what the same threads read from memory without computing (above 100 % what is read stays in caches). \
Peak RSS counts mapped weights. `logits` is the start of the SHA-256 of the last logits: the tokens are the same in \
every run, so that the same file gives the same digest on every machine, at every number of threads and batch size.

Below the table stands what the machine tells of itself: board, CPU, the cores used; clocks, temperature and throttling \
before, during and after; energy of the counted runs, if there is a sensor that is known: INA3221 rails (Jetson; VDD_IN is the \
whole module), the power chip of a Raspberry Pi 5 (`vcgencmd pmic_read_adc`: its rails, not USB or fan), RAPL counters \
(x86; the processor; mostly for root only). `–` in the row, `null` in JSON and an empty cell in CSV mean that the machine does not \
tell. Where cores differ, the threads are kept on the fast ones; -t above their number takes all. A mask set by taskset or a \
container is kept.")]
pub(crate) struct BenchArgs {
    /// Model file (.kgl)
    #[arg(short = 'm', long, value_name = "FILE")]
    model: PathBuf,

    /// Prompt lengths; 0: none
    #[arg(short = 'p', long = "n-prompt", value_name = "N,...", value_delimiter = ',', default_value = "512")]
    prompt: Vec<usize>,

    /// Generated lengths; 0: none
    #[arg(short = 'n', long = "n-gen", value_name = "N,...", value_delimiter = ',', default_value = "128")]
    generate: Vec<usize>,

    /// Context in front of each
    #[arg(short = 'd', long = "n-depth", value_name = "N,...", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,

    /// Repetitions
    #[arg(short = 'r', long, value_name = "N", default_value_t = 5, value_parser = positive)]
    repetitions: usize,

    /// Threads [default: the fast cores that this process may use]
    #[arg(short = 't', long, value_name = "N,...", value_delimiter = ',', value_parser = options::threads)]
    threads: Vec<usize>,

    /// Tokens that are evaluated together
    #[arg(short = 'b', long = "batch-size", visible_alias = "ubatch-size", value_name = "N", default_value_t = DEFAULT_BATCH, value_parser = positive)]
    batch: usize,

    /// Cache of keys and values
    #[arg(long = "cache", visible_alias = "cache-type-k", value_name = "TYPE", default_value = "i8", value_parser = ["i8", "f32"])]
    cache: String,

    /// Form of the result
    #[arg(short = 'o', long, value_name = "FORM", default_value = "md", value_parser = ["md", "json", "csv"])]
    output: String,

    /// Read what the machine tells of itself below FOLDER, not below /; for tests of that reading
    #[arg(long, value_name = "FOLDER", hide = true)]
    sysroot: Option<PathBuf>,
}

/// A row of the result.
#[derive(Clone, Copy, Debug)]
struct Test {
    generate: bool,
    tokens: usize,
    depth: usize,
}

impl Test {
    fn name(self) -> String {
        let kind = if self.generate { "tg" } else { "pp" };
        let depth = if self.depth > 0 { format!(" @ d{}", self.depth) } else { String::new() };
        format!("{kind}{}{depth}", self.tokens)
    }

    /// Positions that it takes.
    fn context(self) -> Result<usize, Failure> {
        self.depth.checked_add(self.tokens).ok_or_else(|| usage(format_args!("{}: more positions than can be counted", self.name())))
    }
}

struct Row {
    test: Test,
    threads: usize,
    speed: Mean,
    /// Bytes that a generated token reads; `None` for prompts.
    bytes_per_token: Option<f64>,
    peak_rss: Option<u64>,
    hash: String,
    /// Of all repetitions together.
    seconds: f64,
    /// What the machine told meanwhile.
    log: Log,
}

impl Row {
    /// Tokens of all repetitions together.
    fn all_tokens(&self) -> f64 {
        self.test.tokens as f64 * self.speed.count() as f64
    }
}

/// The digest of logits, as their bits stand in little-endian memory.
fn logits_hash(logits: &[f32]) -> String {
    let mut hash = Sha256::new();
    for x in logits {
        hash.update(x.to_le_bytes());
    }
    hex(&hash.finalize()[..8])
}

/// Bytes of the cache that a token at `position` reads.
fn cache_bytes(spec: &Spec<'_>, cache: CacheType, position: usize) -> f64 {
    let stack = spec.stack();
    let layer = |i| {
        let block = stack.block(i);
        let seen = if block.window > 0 { position.min(block.window as usize) } else { position };
        let head = match cache {
            CacheType::I8 => block.head_dim as usize + size_of::<f32>(),
            CacheType::F32 => block.head_dim as usize * size_of::<f32>(),
        };
        2 * seen * block.kv_heads as usize * head
    };
    (0..stack.len()).map(layer).sum::<usize>() as f64
}

fn one(session: &mut Session<'_, '_>, tokens: &[TokenId], test: Test) -> Result<(f64, String), Failure> {
    session.truncate(test.depth).map_err(error)?;
    let tokens = &tokens[test.depth..];
    let start = Instant::now();
    if test.generate {
        let (last, front) = tokens.split_last().unwrap_or((&TokenId(0), &[]));
        for &token in front {
            session.prefill(&[token]).map_err(error)?;
        }
        let logits = session.prefill(&[*last]).map_err(error)?;
        Ok((start.elapsed().as_secs_f64(), logits_hash(logits)))
    } else {
        let logits = session.prefill(tokens).map_err(error)?;
        Ok((start.elapsed().as_secs_f64(), logits_hash(logits)))
    }
}

fn measure(
    args: &BenchArgs,
    model: &Model<'_>,
    machine: &Machine,
    hardware: &Hardware,
    elsewhere: &[usize],
    test: Test,
) -> Result<Row, Failure> {
    memory::reset_peak();
    let context = test.context()?;
    let cache = engine::cache_type(&args.cache);
    let options = Options { context, batch: args.batch.min(context), cache, logit_rows: 1 };
    let plan = Plan::new(model.spec(), options).map_err(|e| Failure::file(&args.model, e))?;
    let mut arena = engine::arena(&plan)?;
    let mut session = engine::session(model, &plan, &mut arena, machine)?;
    let tokens: Vec<TokenId> = (0..context).map(|i| token(i, model.spec().vocab)).collect();
    if test.depth > 0 {
        session.prefill(&tokens[..test.depth]).map_err(error)?;
    }
    let mut progress = Progress::new((args.repetitions as u64).saturating_add(1), "bench");
    let (_, hash) = one(&mut session, &tokens, test)?;
    progress.advance(1, test.name());
    let (measured, log) = watch(hardware, elsewhere, || {
        let (mut speed, mut sum) = (Mean::default(), 0.0);
        for _ in 0..args.repetitions {
            let (seconds, again) = one(&mut session, &tokens, test)?;
            if again != hash {
                return Err(error(format_args!("{}: a repetition gave other logits: expected {hash}, got {again}", test.name())));
            }
            speed.add(rate(test.tokens, seconds));
            sum += seconds;
            progress.advance(1, format!("{} {:.1} t/s", test.name(), speed.mean()));
            if interrupt::asked() {
                return Err(Failure::Interrupted);
            }
        }
        Ok((speed, sum))
    });
    let (speed, seconds) = measured?;
    let read = |spec| model.bytes_per_token() as f64 + cache_bytes(spec, cache, test.depth + test.tokens / 2);
    let bytes_per_token = test.generate.then(|| read(model.spec()));
    Ok(Row { test, threads: machine.threads, speed, bytes_per_token, peak_rss: memory::peak_rss(), hash, seconds, log })
}

pub(crate) fn run(global: Global, args: &BenchArgs) -> Done {
    interrupt::install();
    let file = engine::open(&args.model)?;
    let model = engine::model(&args.model, &file)?;
    let mut tests = Vec::new();
    for &depth in &args.depth {
        let part = |generate, tokens: &[usize]| tokens.iter().map(move |&tokens| Test { generate, tokens, depth }).collect::<Vec<_>>();
        tests.extend(part(false, &args.prompt));
        tests.extend(part(true, &args.generate));
    }
    tests.retain(|test| test.tokens > 0);
    if tests.is_empty() {
        return Err(usage("nothing to measure: expected -p or -n above 0"));
    }
    // Before anything is measured.
    for test in &tests {
        test.context()?;
    }
    let root = args.sysroot.as_deref().map_or_else(Root::system, Root::at);
    let hardware = Hardware::read(root);
    let is_here = hardware.root.is_system();
    let granted = if is_here { affinity::granted().clone() } else { Granted { cpus: None, threads: MAX_THREADS } };
    let asked: Vec<Option<usize>> = if args.threads.is_empty() { vec![None] } else { args.threads.iter().copied().map(Some).collect() };
    let cores: Vec<Cores> = asked.into_iter().map(|threads| Cores::among(&hardware.cpus, &granted, threads)).collect();
    let before = Moment::now(&hardware);
    let (mut rows, mut isa): (Vec<Row>, _) = (Vec::new(), "");
    let mut log: Option<Log> = None;
    for cores in &cores {
        // Of another machine's cores only the number can be had here.
        let machine = if is_here { Machine::on(global, cores.clone())? } else { Machine::anywhere(global, cores.threads)? };
        let elsewhere = if is_here { cores.others() } else { Vec::new() };
        isa = machine.kernels.isa.name();
        for &test in &tests {
            let row = measure(args, &model, &machine, &hardware, &elsewhere, test)?;
            match &mut log {
                Some(log) => log.merge(row.log.clone()),
                None => log = Some(row.log.clone()),
            }
            rows.push(row);
        }
    }
    let after = Moment::now(&hardware);
    // After the rows, so that its buffer is in no row's peak.
    let probe = Probe::new();
    let mut bandwidths = Vec::new();
    for cores in &cores {
        if is_here {
            // Already said, if it could not be done.
            let _ = cores.bind();
        }
        bandwidths.push((cores.threads, probe.measure(cores.threads)));
    }
    drop(probe);

    for (threads, bytes) in &bandwidths {
        note!("memory read with {}: {:.1} GB/s", count(*threads as u64, "thread"), bytes / 1e9);
    }
    let report = Report {
        args,
        name: args.model.file_stem().map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned()),
        title: model.container().meta_value("name"),
        file_bytes: file.bytes().len() as u64,
        weight_bytes: model.bytes_per_token(),
        build: super::build_id(),
        dtype: most_weights(&model),
        isa,
        hardware: &hardware,
        before,
        after,
        log,
        cores,
        rows,
        bandwidths,
    };
    match args.output.as_str() {
        "json" => say!("{:#}", report.json()),
        "csv" => text(report.csv().as_bytes()),
        _ => text(report.text().as_bytes()),
    }
}

/// The type that most weights have.
fn most_weights(model: &Model<'_>) -> &'static str {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in model.container().entries() {
        *counts.entry(entry.dtype.name()).or_default() += (entry.tensor.rows as u64).saturating_mul(entry.tensor.cols as u64);
    }
    counts.into_iter().max_by_key(|&(_, n)| n).map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_and_the_hash_are_what_other_machines_have() {
        let tokens: Vec<u32> = (0..4).map(|i| token(i, 1000).0).collect();
        // SplitMix64 with seed 0 starts with e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f, f88bb8a8724c81ec.
        let expected = [0xe220_a839_7b1d_cdaf_u64, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f, 0xf88b_b8a8_724c_81ec];
        assert_eq!(tokens, expected.map(|x| (x % 1000) as u32));
        // SHA-256 of the bytes 00 00 80 3f.
        assert_eq!(logits_hash(&[1.0]), hex(&Sha256::digest([0, 0, 0x80, 0x3f])[..8]));
        assert_ne!(logits_hash(&[0.0]), logits_hash(&[-0.0]));
    }

    #[test]
    fn names_are_those_that_people_paste() {
        assert_eq!(Test { generate: false, tokens: 512, depth: 0 }.name(), "pp512");
        assert_eq!(Test { generate: true, tokens: 128, depth: 4096 }.name(), "tg128 @ d4096");
        assert_eq!(Test { generate: false, tokens: 5, depth: 7 }.context().ok(), Some(12));
        assert!(Test { generate: false, tokens: 5, depth: usize::MAX }.context().is_err());
    }
}
