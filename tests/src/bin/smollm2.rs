//! SmolLM2-135M-Instruct against what `transformers` says of it: tokens, logits, text; and quantised, whether it still knows
//! the capital of France.
//!
//!     cargo run --release -p kinglet-tests --bin smollm2 -- FOLDER
//!
//! FOLDER is the checkpoint that `tests/checkpoints/fetch.py` makes. It needs 1 GiB in the temporary folder.

use kinglet::format::Section;
use kinglet::isa::Isa;
use kinglet::kernels::Kernels;
use kinglet::kv::CacheType;
use kinglet::map::MappedFile;
use kinglet::model::Model;
use kinglet::session::Options;
use kinglet::tokenizer::chat::{ChatTemplate, End, Message, Role};
use kinglet::tokenizer::{EncodeOptions, TokenId, Tokenizer};
use kinglet::workers::Pool;
use kinglet_quant::DType;
use kinglet_tests::golden::{self, TOLERANCE, TextCase, Trained};
use kinglet_tests::run;
use kinglet_tools::checkpoint::Checkpoint;
use kinglet_tools::convert::{self, Conversion};
use kinglet_tools::digest::sha256;
use kinglet_tools::golden::logits_hash;
use std::path::Path;
use std::process::ExitCode;

const QUESTION: &str = "What is the capital of France?";
const ANSWER: &str = "Paris";
/// Tokens of an answer, at most.
const ANSWER_TOKENS: usize = 40;

/// What did not hold, printed as it is found.
#[derive(Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    fn check(&mut self, holds: bool, what: impl std::fmt::Display) {
        self.failed += usize::from(!holds);
        println!("{:6} {what}", if holds { "ok" } else { "FAILED" });
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [folder] = arguments.as_slice() else {
        eprintln!("usage: smollm2 FOLDER, the checkpoint that tests/checkpoints/fetch.py makes");
        return ExitCode::from(2);
    };
    match examine(Path::new(folder)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("smollm2: {failed} checks failed");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("smollm2: {e}");
            ExitCode::FAILURE
        }
    }
}

/// How many checks failed.
fn examine(folder: &Path) -> Result<usize, Box<dyn std::error::Error>> {
    let golden = Trained::read("smollm2");
    for (file, expected) in &golden.sha256 {
        let path = folder.join(file);
        let got = kinglet_tools::digest::hex(&sha256(&std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?));
        if got != *expected {
            return Err(format!("{}: its SHA-256 is {got}, the golden data is of {expected}", path.display()).into());
        }
    }
    let checkpoint = Checkpoint::open(folder)?;
    let workers = Pool::new(std::thread::available_parallelism()?.get())?;
    let temporary = tempfile::tempdir()?;
    let mut checks = Checks::default();
    for (dtype, cache) in [(DType::F32, CacheType::F32), (DType::Q8, CacheType::I8), (DType::Q4, CacheType::I8)] {
        // Replaced each time: the f32 file is large.
        let path = temporary.path().join("smollm2.kgl");
        let report = Conversion::plan(&checkpoint, &convert::Options::of(dtype))?.run(&path, true, None, &())?;
        println!("\n{dtype}: converted in {:.1} s", report.seconds.unwrap_or_default());
        let file = MappedFile::open(&path)?;
        let model = Model::new(file.bytes())?;
        let tokenizer = model.tokenizer().ok_or("the checkpoint has no tokenizer")?;
        let options = Options { context: 128, batch: 64, cache, logit_rows: 1 };
        let mut hashes = Vec::new();
        for isa in Isa::available() {
            let kernels = Kernels::select(isa).ok_or("no kernels")?;
            let logits = |case: &TextCase| run::greedy(&model, options, kernels, &workers, &case.tokens, 0, |_| false).0;
            let logits: Vec<f32> = golden.cases.iter().flat_map(logits).map(f32::from_bits).collect();
            hashes.push(logits_hash(&logits));
            println!("       {dtype} on {isa}: logits {:016x}", logits_hash(&logits));
        }
        checks.check(
            hashes.iter().all(|hash| *hash == hashes[0]),
            format_args!("{dtype}: the same logits on {} instruction sets", hashes.len()),
        );
        if dtype == DType::F32 {
            checks.check(model.spec().vocab as usize == golden.vocab_size, format_args!("{} tokens", golden.vocab_size));
            for case in &golden.cases {
                equals_library(&mut checks, &model, tokenizer, options, &workers, case);
            }
        } else {
            let answer = answer(&model, tokenizer, options, &workers)?;
            checks.check(answer.contains(ANSWER), format_args!("{dtype}: {QUESTION} {answer:?}"));
        }
    }
    Ok(checks.failed)
}

/// Tokens, logits, the greedy continuation and its text of one prompt.
fn equals_library(checks: &mut Checks, model: &Model<'_>, tokenizer: &Tokenizer<'_>, options: Options, workers: &Pool, case: &TextCase) {
    let name = &case.name;
    let ids = run::encode(tokenizer, &case.prompt, &EncodeOptions { add_special: false, ..EncodeOptions::default() });
    checks.check(ids == case.tokens, format_args!("{name}: {} tokens", case.tokens.len()));
    let (bits, ids) = run::greedy(model, options, Kernels::best(), workers, &case.tokens, case.greedy.len(), |_| false);
    let (worst, scale) = golden::difference(&bits, &case.logits);
    checks.check(worst <= TOLERANCE * scale, format_args!("{name}: largest difference {worst:.2e}, largest logit {scale:.2}"));
    checks.check(ids == case.greedy, format_args!("{name}: {} greedy tokens", case.greedy.len()));
    let text = run::decode(tokenizer, &ids);
    checks.check(text == case.greedy_text, format_args!("{name}: {text:?}"));
}

/// What the model says greedily to [`QUESTION`].
fn answer(model: &Model<'_>, tokenizer: &Tokenizer<'_>, options: Options, workers: &Pool) -> Result<String, String> {
    let template = ChatTemplate::parse(model.container().section(Section::Chat)).map_err(|e| e.to_string())?;
    let messages = [Message { role: Role::User, content: QUESTION }];
    let (mut out, mut literal) = (vec![0; 4096], vec![0..0; 1]);
    let (prompt, literal) = template.assemble(None, &messages, End::Reply, &mut out, &mut literal).map_err(|e| e.to_string())?;
    let tokens = run::encode(tokenizer, prompt, &EncodeOptions { literal, add_special: false, ..EncodeOptions::default() });
    let end = |id: TokenId| tokenizer.is_end(id);
    let (_, ids) = run::greedy(model, options, Kernels::best(), workers, &tokens, ANSWER_TOKENS, end);
    Ok(run::decode(tokenizer, &ids))
}
