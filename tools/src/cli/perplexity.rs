//! `kinglet perplexity`: how surprised a model is by a text, and how far it is from a reference.

use super::Global;
use super::divergence::{Comparison, Surprise, log_softmax};
use super::engine::{self, Machine};
use super::options::{ModelArgs, positive, read_text};
use super::out::{Done, Failure, Progress, error, interrupt, note, say, text};
use super::text::{Align, Table, duration, rate, thousands};
use kinglet::format::Section;
use kinglet::model::Model;
use kinglet::session::{Options, Plan, Session};
use kinglet::tokenizer::{EncodeOptions, TokenId};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Measure perplexity on a text, and KL divergence from a reference model
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet perplexity -m smol-q4.kgl -f persuasion.txt
  kinglet perplexity -m smol-q4.kgl -f persuasion.txt --chunks 16 --reference smol-f32.kgl

Figures compare with llama-perplexity: the text becomes tokens once, with the beginning token if the model adds one; \
it is cut into chunks of -c tokens without overlap, what is left over is dropped; where the model adds a beginning \
token it takes the place of each chunk's first token; the second half of each chunk is scored. Logarithms are natural. \
KL divergence is that of the reference's prediction from the model's, per scored token.")]
pub(crate) struct PerplexityArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Text file, `-` for stdin; one newline at its end is dropped
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,

    /// Tokens of a chunk
    #[arg(short = 'c', long = "ctx-size", value_name = "N", default_value_t = 512, value_parser = positive)]
    context: usize,

    /// Chunks to use, at most; -1: all
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    chunks: i64,

    /// Model file to compare with, of the same tokenizer: usually the f32 one
    #[arg(long, value_name = "REF.kgl")]
    reference: Option<PathBuf>,

    /// Form of the result
    #[arg(short = 'o', long, value_name = "FORM", default_value = "md", value_parser = ["md", "json", "csv"])]
    output: String,
}

/// Rows of logits that a session holds at a time: the head's weights are read once for all of them.
const LOGIT_ROWS: usize = 32;

fn plan(model: &Model<'_>, path: &Path, args: &PerplexityArgs) -> Result<Plan, Failure> {
    let options = Options {
        context: args.context,
        batch: args.model.batch.min(args.context),
        cache: engine::cache_type(&args.model.cache),
        logit_rows: LOGIT_ROWS.min(args.context),
    };
    Plan::new(model.spec(), options).map_err(|e| Failure::file(path, e))
}

/// Evaluates a chunk from an empty context; `score` gets the log-probabilities after each position of its second
/// half but the last, and the token that follows there.
fn chunk(session: &mut Session<'_, '_>, tokens: &[TokenId], score: &mut dyn FnMut(usize, Vec<f64>, usize)) -> Done {
    let first = tokens.len() / 2;
    session.truncate(0).map_err(error)?;
    if first > 0 {
        session.prefill(&tokens[..first]).map_err(error)?;
    }
    let scored = &tokens[first..tokens.len() - 1];
    session
        .prefill_each(scored, &mut |position, logits| score(position - first, log_softmax(logits), tokens[position + 1].0 as usize))
        .map_err(error)
}

pub(crate) fn run(global: Global, args: &PerplexityArgs) -> Done {
    if args.context < 4 {
        return Err(super::out::usage(format_args!("-c {}: expected at least 4 tokens", args.context)));
    }
    let machine = Machine::new(global, args.model.threads)?;
    let file = engine::open(&args.model.model)?;
    let model = engine::model(&args.model.model, &file)?;
    let tokenizer = engine::tokenizer(&args.model.model, &model)?;

    let content = read_text(&args.file)?;
    // Control tokens spelled out in a text are text.
    let options = EncodeOptions { parse_special: false, ..EncodeOptions::default() };
    let tokens = engine::encode(tokenizer, &content, &options)?;
    let wanted = usize::try_from(args.chunks).unwrap_or(usize::MAX);
    let chunks = (tokens.len() / args.context).min(wanted);
    if chunks == 0 {
        let got = tokens.len();
        return Err(Failure::file(&args.file, format_args!("expected at least one chunk of {} tokens, got {got} tokens", args.context)));
    }

    let other_file = args.reference.as_deref().map(engine::open).transpose()?;
    let other_path = args.reference.as_deref().unwrap_or(Path::new(""));
    let other_model = other_file.as_ref().map(|file| engine::model(other_path, file)).transpose()?;
    if let Some(other) = &other_model {
        same_tokens(&model, other, other_path)?;
    }

    let plan_own = plan(&model, &args.model.model, args)?;
    let mut arena = engine::arena(&plan_own)?;
    let mut session = engine::session(&model, &plan_own, &mut arena, &machine)?;
    let plan_other = other_model.as_ref().map(|other| plan(other, other_path, args)).transpose()?;
    let mut arena_other = plan_other.as_ref().map(engine::arena).transpose()?;
    let mut session_other = match (&other_model, &plan_other, &mut arena_other) {
        (Some(model), Some(plan), Some(arena)) => Some(engine::session(model, plan, arena, &machine)?),
        _ => None,
    };

    interrupt::install();
    let start = Instant::now();
    let mut progress = Progress::new(chunks as u64, "perplexity");
    let (mut surprise, mut surprise_other, mut comparison) = (Surprise::default(), Surprise::default(), Comparison::default());
    let mut done = 0;
    for part in tokens.chunks_exact(args.context).take(chunks) {
        let mut part = part.to_vec();
        if let Some(bos) = tokenizer.bos().filter(|_| tokenizer.adds_bos()) {
            part[0] = bos;
        }
        let mut references = Vec::new();
        if let Some(other) = &mut session_other {
            chunk(other, &part, &mut |_, logs, token| {
                surprise_other.add(logs[token]);
                references.push(logs);
            })?;
        }
        chunk(&mut session, &part, &mut |at, logs, token| {
            surprise.add(logs[token]);
            if let Some(reference) = references.get(at) {
                comparison.add(reference, &logs, token);
            }
        })?;
        done += 1;
        progress.advance(1, format!("PPL {:.4}", surprise.perplexity()));
        if interrupt::asked() {
            break;
        }
    }
    drop(progress);
    let seconds = start.elapsed().as_secs_f64();
    note!(
        "{} tokens in {}, {:.1} tokens/s",
        thousands((done * args.context) as u64),
        duration(seconds),
        rate(done * args.context, seconds)
    );
    if done < chunks {
        note!("kinglet: interrupted after {done} of {chunks} chunks; the figures are of those");
    }

    let mut results = vec![
        ("perplexity", surprise.perplexity(), surprise.error()),
        ("tokens scored", surprise.count() as f64, f64::NAN),
        ("chunks", done as f64, f64::NAN),
    ];
    if session_other.is_some() {
        let [median, p99, p999, max] = comparison.percentiles([0.5, 0.99, 0.999, 1.0]);
        let pair = |name, (value, error): (f64, f64)| (name, value, error);
        results.extend([
            ("reference perplexity", surprise_other.perplexity(), surprise_other.error()),
            pair("ln(PPL / reference PPL)", comparison.log_ratio()),
            pair("KL divergence, mean", comparison.divergence()),
            ("KL divergence, median", median, f64::NAN),
            ("KL divergence, 99 %", p99, f64::NAN),
            ("KL divergence, 99.9 %", p999, f64::NAN),
            ("KL divergence, maximum", max, f64::NAN),
            pair("same top token", comparison.same_top()),
            pair("Δp RMS", comparison.probability_rms()),
            pair("Δp mean", comparison.probability_mean()),
        ]);
    }
    print(&args.output, &results)?;
    if done < chunks { Err(Failure::Interrupted) } else { Ok(()) }
}

/// Both models must predict the same tokens.
fn same_tokens(model: &Model<'_>, other: &Model<'_>, other_path: &Path) -> Done {
    let (expected, got) = (model.spec().vocab, other.spec().vocab);
    if expected != got {
        return Err(Failure::file(other_path, format_args!("vocabulary: expected {expected} tokens as in the model, got {got}")));
    }
    let section = |model: &Model<'_>| model.container().section(Section::Tokenizer).to_vec();
    if !section(other).is_empty() && section(model) != section(other) {
        return Err(Failure::file(other_path, "tokenizer: expected that of the model, got another"));
    }
    Ok(())
}

fn print(form: &str, results: &[(&str, f64, f64)]) -> Done {
    match form {
        "json" => {
            let key = |name: &str| name.to_lowercase().replace("δ", "delta_").replace([' ', ',', '/', '(', ')', '.', '%'], "_");
            let key = |name: &str| key(name).split('_').filter(|s| !s.is_empty()).collect::<Vec<_>>().join("_");
            let mut object = serde_json::Map::new();
            for &(name, value, error) in results {
                object.insert(key(name), value.into());
                if !error.is_nan() {
                    object.insert(key(name) + "_error", error.into());
                }
            }
            say!("{:#}", serde_json::Value::Object(object))
        }
        form => {
            let mut table = Table::new(&[("", Align::Left), ("value", Align::Right), ("± error", Align::Right)]);
            for &(name, value, error) in results {
                let show = |x: f64| match name {
                    "tokens scored" | "chunks" => thousands(value as u64),
                    "same top token" | "Δp RMS" | "Δp mean" if form == "md" => format!("{:.3} %", 100.0 * x),
                    _ if name.ends_with("perplexity") => format!("{x:.4}"),
                    _ => format!("{x:.6}"),
                };
                table.row([name.to_owned(), show(value), if error.is_nan() { String::new() } else { show(error) }]);
            }
            text(if form == "csv" { table.csv() } else { table.markdown() }.as_bytes())
        }
    }
}
