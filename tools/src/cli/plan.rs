//! `kinglet plan`: the bytes of a model in memory, before anything is loaded.

use super::boards::{ASSUMPTIONS, BOARDS, PROGRAM_BYTES};
use super::engine::{self, cache_type};
use super::options::{ContextArgs, DEFAULT_BATCH, positive};
use super::out::{Done, Failure, note, say, text};
use super::source::{self, FileSizes, Source, TypeArgs};
use super::text::{Align, Table, size, thousands};
use crate::convert::{self, Conversion};
use crate::family;
use kinglet::format::Container;
use kinglet::session::{Options, Plan};
use kinglet::spec::Spec;
use std::path::PathBuf;

/// Tell the exact memory of a model, and the boards that it fits
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet plan smol.kgl -c 2048
  kinglet plan ./SmolLM2-135M-Instruct --type q8 -c 8192     before anything is converted
  kinglet plan config.json --type q4 -c 4096                 a configuration alone: no tokenizer counted

File and arena are exact: `run -c N -b N --cache T` takes these bytes. The arena holds the cache of keys and values and \
all buffers; nothing is allocated after it. It does not depend on the number of threads.")]
pub(crate) struct PlanArgs {
    /// Model file (.kgl), checkpoint folder, or config.json
    #[arg(value_name = "FILE|FOLDER|CONFIG")]
    path: PathBuf,

    #[command(flatten)]
    context: ContextArgs,

    /// Tokens of a prompt that are evaluated together
    #[arg(short = 'b', long = "batch-size", visible_alias = "ubatch-size", value_name = "N", default_value_t = DEFAULT_BATCH, value_parser = positive)]
    batch: usize,

    /// Cache of keys and values
    #[arg(long = "cache", visible_alias = "cache-type-k", value_name = "TYPE", default_value = "i8", value_parser = ["i8", "f32"])]
    cache: String,

    #[command(flatten)]
    types: TypeArgs,

    /// JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PlanArgs) -> Done {
    let path = &args.path;
    let source = Source::open(path)?;
    match &source {
        Source::File(file) => {
            args.types.refuse_for_file(path)?;
            let container = Container::parse(file.bytes()).map_err(|e| Failure::file(path, e))?;
            container.spec().check_supported().map_err(|e| Failure::file(path, e))?;
            print(args, container.spec(), source::sizes_of_file(&container))
        }
        Source::Folder(checkpoint) => {
            let options = convert::Options { types: args.types.types(), name: None, no_tokenizer: false };
            let conversion = Conversion::plan(checkpoint, &options).map_err(super::out::error)?;
            let sizes = source::sizes_of_conversion(&conversion, conversion.types());
            print(args, &conversion.model().spec(), sizes.ok_or_else(|| Failure::file(path, "the sizes do not fit 64 bits"))?)
        }
        Source::Config(config) => {
            let model = family::Model::from_config(config).map_err(|e| Failure::file(path, e))?;
            print(args, &model.spec(), source::sizes_of_config(&model, args.types.types(), path)?)
        }
    }
}

fn print(args: &PlanArgs, spec: &Spec<'_>, file: FileSizes) -> Done {
    let context = args.context.resolve(spec.context);
    let options =
        Options { context, batch: args.batch.min(context.max(1)), cache: cache_type(&args.cache), logit_rows: engine::LOGIT_ROWS };
    let plan = Plan::new(spec, options).map_err(|e| Failure::file(&args.path, e))?;
    let (arena, cache) = (plan.arena_bytes() as u64, plan.cache_bytes() as u64);
    let total = file.bytes.saturating_add(arena);
    if args.json {
        let boards: Vec<serde_json::Value> = BOARDS
            .iter()
            .map(|board| {
                let (left, of) = board.headroom(file.bytes, arena);
                serde_json::json!({"board": board.name, "fits": left >= 0, "headroom_bytes": left as i64, "of": of})
            })
            .collect();
        return say!(
            "{:#}",
            serde_json::json!({
                "model": source::name(&args.path), "context": context, "batch": options.batch, "cache": args.cache,
                "file_bytes": file.bytes, "weight_bytes": file.weights, "counts_tokenizer": !file.lacks_tokenizer,
                "cache_bytes": cache, "buffer_bytes": arena - cache, "arena_bytes": arena, "total_bytes": total,
                "program_bytes_at_most": PROGRAM_BYTES, "boards": boards,
            })
        );
    }
    if context > spec.context as usize {
        note!("kinglet: warning: -c {context} is more than the {} positions that the model was made for", spec.context);
    }
    let mut table = Table::new(&[("memory", Align::Left), ("bytes", Align::Right), ("", Align::Right)]);
    let mut row = |name: String, bytes: u64| table.row([name, thousands(bytes), size(bytes)]);
    row(if file.lacks_tokenizer { "file, without tokenizer".into() } else { "file".into() }, file.bytes);
    row("  of it weights".into(), file.weights);
    row("arena".into(), arena);
    row(format!("  of it cache, {} positions, {}", thousands(context as u64), args.cache), cache);
    row(format!("  of it buffers, batch {}", options.batch), arena - cache);
    row("file + arena".into(), total);
    let mut boards = Table::new(&[
        ("board", Align::Left),
        ("RAM", Align::Right),
        ("flash", Align::Right),
        ("fits", Align::Left),
        ("headroom", Align::Right),
    ]);
    for board in BOARDS {
        let (left, of) = board.headroom(file.bytes, arena);
        let (ram, flash) = board.memory_bytes();
        let amount = size(u64::try_from(left.unsigned_abs()).unwrap_or(u64::MAX));
        let headroom = if left < 0 { format!("{amount} of {of} missing") } else { format!("{amount} of {of}") };
        let flash = flash.map_or_else(String::new, size);
        boards.row([board.name.to_owned(), size(ram), flash, if left < 0 { "no" } else { "yes" }.into(), headroom]);
    }
    text(format!("{}\n{}\n{ASSUMPTIONS}\n", table.markdown(), boards.markdown()).as_bytes())
}
