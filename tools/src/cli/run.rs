//! `kinglet run`: a text goes on.

use super::Global;
use super::engine::{self, Machine};
use super::generate::{End, Limits, Writer, note_bytes};
use super::options::{ContextArgs, ModelArgs, PromptArgs, SamplingArgs, required_prompt};
use super::out::{Done, Failure, error, interrupt, model_text, note, text};
use super::sampling::{self, Chooser, Stops};
use super::text::{duration, thousands};
use kinglet::tokenizer::EncodeOptions;
use std::time::Instant;

/// Continue a text
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet run -m smol.kgl -p \"Once upon a time\" -n 64
  kinglet run -m smol.kgl -f chapter.txt -n 200 --temp 0 --echo > continued.txt
  kinglet run -m smol.kgl -p \"Dear diary\" -n -1 -c 512 --keep 16

The continuation goes to stdout, figures to stderr. When the context is full the run ends with exit code 1, unless \
--keep N is given: then the first N tokens of the prompt (and the beginning token) and the newer half of the others \
stay, are evaluated again, and the text goes on.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    prompt: PromptArgs,

    /// Tokens to generate; -1: until the text ends, -2: until it ends or the context is full
    #[arg(short = 'n', long = "predict", visible_alias = "n-predict", value_name = "N", default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-2..))]
    predict: i64,

    /// Go on when the context is full, keeping the prompt's first N tokens; -1: the whole prompt
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    keep: Option<i64>,

    /// Print the prompt first
    #[arg(long)]
    echo: bool,

    #[command(flatten)]
    sampling: SamplingArgs,
}

pub(crate) fn run(global: Global, args: &RunArgs) -> Done {
    let prompt = required_prompt(&args.prompt)?;
    let start = Instant::now();
    let machine = Machine::new(global, args.model.threads)?;
    let file = engine::open(&args.model.model)?;
    let model = engine::model(&args.model.model, &file)?;
    let tokenizer = engine::tokenizer(&args.model.model, &model)?;
    let tokens = engine::encode(tokenizer, &prompt, &EncodeOptions::default())?;
    let context = args.context.resolve(model.spec().context);
    let plan = engine::plan(&model, &args.model, context)?;
    if tokens.len() > context {
        let n = thousands(tokens.len() as u64);
        return Err(error(format_args!("the prompt has {n} tokens, the context {context}: expected a shorter prompt, or a larger -c")));
    }
    if context > model.spec().context as usize {
        note!("kinglet: warning: -c {context} is more than the {} positions that the model was made for", model.spec().context);
    }
    let mut arena = engine::arena(&plan)?;
    let arena_bytes = arena.len();
    let mut session = engine::session(&model, &plan, &mut arena, &machine)?;
    let seed = args.sampling.seed();
    let biases = sampling::biases(&args.sampling, tokenizer, model.spec().vocab)?;
    let mut chooser = Chooser::new(&args.sampling, &biases, model.spec().vocab, context, seed)?;
    let stops: Vec<String> = args.sampling.stop.iter().map(|s| args.prompt.unescaped(s)).collect();
    let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
    let mut held = sampling::held(&stops);
    let mut stops = Stops::new(&stops, &mut held)?;
    let load = start.elapsed().as_secs_f64();

    // The beginning token is not the user's to count, and always worth keeping.
    let begins = usize::from(tokenizer.bos().is_some_and(|bos| tokens.first() == Some(&bos)));
    let keep = args.keep.map(|n| usize::try_from(n).map_or(tokens.len(), |n| n.saturating_add(begins).min(tokens.len())));
    let limits = Limits { tokens: usize::try_from(args.predict).ok(), keep };

    interrupt::install();
    if args.echo {
        text(prompt.as_bytes())?;
    }
    let story = Writer::new(&mut session, tokenizer, args.model.batch)
        .write(&tokens, limits, &mut chooser, &mut stops, &mut |piece| model_text(piece));
    let story = story?;
    text(b"\n")?;
    note!("\nkinglet  {machine}, context {}, seed {seed}, loaded in {}", thousands(context as u64), duration(load));
    story.note();
    if global.verbose {
        note_bytes(file.bytes().len(), arena_bytes);
    }
    match story.end {
        End::Interrupt => Err(Failure::Interrupted),
        End::ContextFull if args.predict != -2 => Err(error(format_args!(
            "the context of {} positions is full: expected a larger -c, a smaller -n, or --keep N to go on",
            thousands(context as u64)
        ))),
        _ => Ok(()),
    }
}
