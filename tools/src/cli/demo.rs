//! `kinglet demo`: everything once, with nothing but this program.

use super::embedded::Embedded;
use super::engine::{self, Machine};
use super::generate::{Limits, Writer};
use super::options::{self, SamplingArgs};
use super::out::{Done, Failure, interrupt, model_text, say, text};
use super::sampling::{Chooser, Stops};
use super::text::{duration, size, thousands};
use super::{Global, memory};
use crate::convert::Calibration;
use clap::Parser;
use kinglet::session::{Options, Plan};
use kinglet::tokenizer::EncodeOptions;
use kinglet_quant::DType;

/// Quantise an embedded tiny model and let it write; needs no network and no file
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet demo
  kinglet demo -n 256 -t 1 --isa scalar")]
pub(crate) struct DemoArgs {
    /// Tokens to generate at each type
    #[arg(short = 'n', long = "predict", value_name = "N", default_value_t = 96)]
    predict: usize,

    /// Threads [default: the fast cores that this process may use]
    #[arg(short = 't', long, value_name = "N", value_parser = options::threads)]
    threads: Option<usize>,

    /// Seed; the same seed gives the same text on every machine
    #[arg(short = 's', long, value_name = "N", default_value_t = 1811)]
    seed: u64,

    /// Do not calibrate: quantises much faster on a slow machine, less precisely, and the text is another
    #[arg(long)]
    no_calibration: bool,
}

const PROMPT: &str = "It was a fine morning in September, and Miss";

/// The default sampling, through the same door as the command line.
#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(global: Global, args: &DemoArgs) -> Done {
    interrupt::install();
    let machine = Machine::new(global, args.threads)?;
    let sampling = Defaults::try_parse_from(["demo"]).map_err(super::out::error)?.sampling;
    let tiny = Embedded::unpack()?;
    say!(
        "A tiny Llama-style model, trained on five novels by Jane Austen, is embedded in this program as an f16 checkpoint of\n\
         {}. It writes sentences that sound like hers and mean nothing. Here it is quantised and run.",
        size(tiny.bytes())
    )?;
    for dtype in [DType::Q4, DType::Q8] {
        memory::reset_peak();
        let (path, file, report) = tiny.convert(dtype, if args.no_calibration { Calibration::Off } else { Calibration::BuiltIn })?;
        say!("\n{report}")?;
        let model = engine::model(&path, &file)?;
        let tokenizer = engine::tokenizer(&path, &model)?;
        let tokens = engine::encode(tokenizer, PROMPT, &EncodeOptions::default())?;
        let context = (model.spec().context as usize).max(tokens.len());
        let plan = Plan::new(model.spec(), Options { context, ..Options::default() }).map_err(|e| Failure::file(&path, e))?;
        let mut arena = engine::arena(&plan)?;
        let mut session = engine::session(&model, &plan, &mut arena, &machine)?;
        let mut chooser = Chooser::new(&sampling, &[], model.spec().vocab, context, args.seed)?;
        let mut stops = Stops::new(&[], &mut [])?;
        let limits = Limits { tokens: Some(args.predict), keep: Some(tokens.len()) };
        memory::reset_peak();
        text(format!("{dtype}: {PROMPT}").as_bytes())?;
        let mut writer = Writer::new(&mut session, tokenizer, options::DEFAULT_BATCH);
        let story = writer.write(&tokens, limits, &mut chooser, &mut stops, &mut |piece| model_text(piece))?;
        let peak = memory::peak_rss().map_or_else(String::new, |peak| format!(", peak memory {}", size(peak)));
        say!(
            "\n\n{dtype}: {} tokens, {:.0} tokens/s, {} to the first token, arena {}{peak}; {machine}",
            thousands(story.generated() as u64),
            story.speed(),
            duration(story.first_seconds()),
            size(plan.arena_bytes() as u64),
        )?;
        if interrupt::asked() {
            return Err(Failure::Interrupted);
        }
    }
    say!("\nNext: `quantize FOLDER model.kgl` converts a real checkpoint, `kinglet chat -m model.kgl` talks to it.")
}
