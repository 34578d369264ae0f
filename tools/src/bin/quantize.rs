//! `quantize CHECKPOINT OUT.kgl`: a Hugging Face folder becomes one file for every board.

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kinglet_quant::DType;
use kinglet_tools::checkpoint::{self, Checkpoint};
use kinglet_tools::convert::{Calibration, Conversion, ConvertError, Observer, Options, Types};
use kinglet_tools::output::Output;
use kinglet_tools::report;
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const AFTER_HELP: &str = "\
Types (bits per weight, scales included; blocks of 32 inputs):
  q4    4.50 + 64/inputs   4-bit, u8 scale and u8 minimum per block, two f32 per row; searched
  q8    8.25 + 32/inputs   8-bit, u8 scale per block, one f32 per row; searched
  f16  16.00               half precision
  f32  32.00               single precision, for comparisons

With --type q4 the embedding and the head are q8 unless said otherwise. Norms and biases are always f32.
q4 matrices are calibrated: the model runs on a text first, so that the weights which matter most are rounded best.

Examples:
  quantize SmolLM2-135M-Instruct smollm2.kgl
  quantize Llama-3.2-1B llama.kgl --type q8 --threads 4
  quantize Qwen2.5-0.5B qwen.kgl --type q4 --embed-type q4
  quantize SmolLM2-135M-Instruct --dry-run

Exit status: 0 done, 1 failed, 2 wrong usage, 130 or 143 interrupted. Unless it is 0, the output is as it was before.";

/// Converts a Hugging Face checkpoint into a .kgl file.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Args {
    /// Folder with config.json and model.safetensors (or its index and shards), in F32, F16 or BF16
    checkpoint: PathBuf,
    /// The file to write
    #[arg(required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Type of the matrices
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value = "q4")]
    weights: TypeArg,
    /// Type of the token embedding; where it is also the head, of both
    #[arg(long, value_name = "TYPE", value_enum)]
    embed_type: Option<TypeArg>,
    /// Type of the head
    #[arg(long, value_name = "TYPE", value_enum)]
    head_type: Option<TypeArg>,
    /// Threads [default: as many as the machine has]
    #[arg(short, long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// The model's name in the file [default: the folder's name]
    #[arg(long)]
    name: Option<String>,
    /// Leave the tokenizer out: the model then takes and gives token ids only
    #[arg(long)]
    no_tokenizer: bool,
    /// Text to calibrate q4 matrices on, such as what the model will be used for [default: a text that is built in]
    #[arg(long, value_name = "TEXT", conflicts_with = "no_calibration")]
    calibration: Option<PathBuf>,
    /// Do not calibrate: faster, less precise
    #[arg(long)]
    no_calibration: bool,
    /// Overwrite the output
    #[arg(short, long)]
    force: bool,
    /// Print the table and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TypeArg {
    Q4,
    Q8,
    F16,
    F32,
}

impl From<TypeArg> for DType {
    fn from(arg: TypeArg) -> Self {
        match arg {
            TypeArg::Q4 => DType::Q4,
            TypeArg::Q8 => DType::Q8,
            TypeArg::F16 => DType::F16,
            TypeArg::F32 => DType::F32,
        }
    }
}

/// The progress bar, and the number of the signal that came.
struct Watch {
    bar: ProgressBar,
    signal: Arc<AtomicUsize>,
}

impl Observer for Watch {
    fn start(&self, source_bytes: u64) {
        self.bar.set_length(source_bytes);
    }

    fn advance(&self, source_bytes: u64) {
        self.bar.inc(source_bytes);
    }

    fn is_stopped(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let signal = Arc::new(AtomicUsize::new(0));
    if let Err(e) = catch_signals(&signal) {
        eprintln!("quantize: cannot handle signals: {e}");
        return ExitCode::FAILURE;
    }
    match run(&args, &signal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("quantize: {e}");
            match (e, signal.load(Ordering::Relaxed)) {
                (ConvertError::Interrupted, signal) if signal != 0 => ExitCode::from(128 + signal as u8),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Notes SIGINT and SIGTERM, so that the temporary file can be removed; the second one ends the process at once.
#[cfg(unix)]
fn catch_signals(noted: &Arc<AtomicUsize>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::flag;
    use std::sync::atomic::AtomicBool;
    for signal in [SIGINT, SIGTERM] {
        let again = Arc::new(AtomicBool::new(false));
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
        flag::register(signal, again)?;
        flag::register_usize(signal, Arc::clone(noted), signal as usize)?;
    }
    // Beyond a file size limit, `write` then gives an error instead of ending the process.
    flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

#[cfg(not(unix))]
fn catch_signals(_noted: &Arc<AtomicUsize>) -> std::io::Result<()> {
    Ok(())
}

fn run(args: &Args, signal: &Arc<AtomicUsize>) -> Result<(), ConvertError> {
    if let (Some(out), false) = (&args.out, args.dry_run) {
        Output::check(out, args.force)?;
    }
    let checkpoint = Checkpoint::open(&args.checkpoint)?;
    let types = Types { weights: args.weights.into(), embed: args.embed_type.map(Into::into), head: args.head_type.map(Into::into) };
    let text = match &args.calibration {
        None => None,
        Some(path) => Some(match checkpoint::read_text(std::path::Path::new(""), &path.to_string_lossy())? {
            Some(text) => text,
            None => return Err(ConvertError::Calibration { why: format!("{}: there is no such file", path.display()) }),
        }),
    };
    let calibration = match &text {
        Some(text) => Calibration::Text(text),
        None if args.no_calibration => Calibration::Off,
        None => Calibration::BuiltIn,
    };
    let options = Options { types, name: args.name.as_deref(), no_tokenizer: args.no_tokenizer, calibration };
    let conversion = Conversion::plan(&checkpoint, &options)?;
    for warning in conversion.warnings() {
        eprintln!("quantize: warning: {warning}");
    }
    let out = match &args.out {
        Some(out) if !args.dry_run => out,
        _ => {
            print(&format!("{}\ndry run: nothing was written\n", conversion.report()));
            return Ok(());
        }
    };
    let watch = Watch { bar: bar(), signal: Arc::clone(signal) };
    let result = conversion.run(out, args.force, args.threads, &watch);
    watch.bar.finish_and_clear();
    let report = result?;
    let seconds = report.seconds.unwrap_or_default();
    print(&format!(
        "{report}\n{}: {} from {} in {seconds:.1} s, {:.1} MB/s\n",
        out.display(),
        report::bytes(report.file_bytes),
        report::bytes(report.source_bytes),
        report.source_bytes as f64 / 1e6 / seconds.max(1e-9),
    ));
    Ok(())
}

/// Writes to stdout. Who closed it does not want the table; the file is written all the same.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn bar() -> ProgressBar {
    let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left");
    ProgressBar::with_draw_target(None, target).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
