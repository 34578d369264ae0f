//! `cargo xtask arm-cycles`: what the kernels cost on ARM cores that are not at hand.
//!
//! Instructions are counted by running a kernel under QEMU with a plugin that writes down what is executed
//! (`tools/tcg-trace`). `llvm-mca` then plays the trace on its models of the cores. It is no measurement: every load hits the first cache, no
//! branch is mispredicted, and a model is only as good as what its makers wrote down.

mod mca;
mod trace;

use mca::Core;
use trace::{Trace, Unit};

const PROGRAM: &str = "target/aarch64-unknown-linux-musl/release/arm_kernels";

/// One kernel on one shape. For attention, rows are positions, columns channels, tokens query rows.
#[derive(Clone, Debug)]
struct Case {
    kernel: String,
    rows: usize,
    cols: usize,
    tokens: usize,
}

impl Case {
    fn unit(&self) -> Unit {
        match self.kernel.as_str() {
            "matmul_q4" | "matmul_q8" | "attend_i8" => Unit::Int8,
            "matmul_f16" | "matmul_f32" | "attend_f32" => Unit::Float,
            _ => Unit::Values,
        }
    }

    fn record(&self, isa: &str) -> Result<Trace, String> {
        let shape = [self.rows, self.cols, self.tokens].map(|n| n.to_string());
        trace::record(PROGRAM, &[isa, &self.kernel, &shape[0], &shape[1], &shape[2]])
    }
}

const HELP: &str = "\
cargo xtask arm-cycles [OPTION...]
  --kernel NAME      one kernel: matmul_{q4,q8,f16,f32}, attend_{i8,f32}, quantise, quantise_heads, subtract, rms_norm,
                     layer_norm, rope, silu, gelu_tanh, gelu_erf, add, merge
  --rows N --cols N --tokens N
                     its shape; for attend_* these are positions, channels, query rows; 16, 512, 16 where not given
  --core NAME        one core: A53, A72, A76, \"A76 as A57\", A78, A710; or LLVM's name for one
  --isa NAME         scalar, neon, dotprod, i8mm; the core's largest where not given
  --pressure         which units of the core are busy
  --mix              which instructions are executed
  --timeline         llvm-mca's picture of 150 instructions";

#[derive(Debug, Default)]
struct Options {
    kernel: Option<String>,
    core: Option<&'static Core>,
    isa: Option<String>,
    shape: [Option<usize>; 3],
    pressure: bool,
    mix: bool,
    timeline: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--kernel" => options.kernel = Some(value()?.clone()),
                "--core" | "--cpu" => options.core = Some(mca::core(value()?)?),
                "--isa" => options.isa = Some(value()?.clone()),
                "--rows" => options.shape[0] = Some(number(value()?)?),
                "--cols" => options.shape[1] = Some(number(value()?)?),
                "--tokens" => options.shape[2] = Some(number(value()?)?),
                "--pressure" | "--resource-pressure" => options.pressure = true,
                "--mix" => options.mix = true,
                "--timeline" => options.timeline = true,
                _ => return Err(format!("there is no option {arg:?}\n{HELP}")),
            }
        }
        Ok(options)
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("expected a number, got {text:?}"))
}

/// Runs the task.
///
/// # Errors
/// If an argument is wrong, a tool is missing, or one fails.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let options = Options::parse(args)?;
    let Some(kernel) = options.kernel.clone() else { return Err(format!("--kernel is missing\n{HELP}")) };
    trace::build()?;
    let [rows, cols, tokens] = options.shape;
    let case = Case { kernel, rows: rows.unwrap_or(16), cols: cols.unwrap_or(512), tokens: tokens.unwrap_or(16) };
    for core in mca::CORES {
        if options.core.is_none_or(|wanted| wanted.name == core.name) {
            one(&case, core, &options)?;
        }
    }
    Ok(())
}

fn one(case: &Case, core: &Core, options: &Options) -> Result<(), String> {
    let isa = options.isa.as_deref().unwrap_or(core.isa);
    let trace = case.record(isa)?;
    let cycles = mca::cycles(core, &trace, options.pressure)?;
    let (instructions, work) = (trace.executed.len() as f64, trace.work);
    println!("{} {} {}x{}, {} tokens on {} (llvm-mca {})", case.kernel, isa, case.rows, case.cols, case.tokens, core.name, core.mcpu);
    println!("  {}: {}", core.name, core.about);
    let per = if case.unit() == Unit::Values { "value" } else { "multiply-add" };
    println!("  {instructions} instructions, {:.4} per {per}, {:.2} per cycle", instructions / work, instructions / cycles.total);
    println!("  {} cycles, {:.4} per {per}, {:.2} {per}s per cycle", cycles.total, cycles.total / work, work / cycles.total);
    if trace.bytes > 0.0 {
        println!("  {:.3} bytes of weights per cycle", trace.bytes / cycles.total);
    }
    if let Some(peak) = mca::peak(core, case.unit())? {
        println!("  {:.1} % of the peak of {peak} a cycle", 100.0 * work / cycles.total / peak);
    }
    if cycles.skipped > 0 {
        println!("  {} instructions unknown to the model were left out", cycles.skipped);
    }
    for (unit, share) in cycles.pressure.iter().filter(|(_, share)| *share > 0.005) {
        println!("  {unit:20} busy {:5.1} %", 100.0 * share);
    }
    if options.mix {
        for (name, n) in trace.mix().into_iter().take(40) {
            println!("  {name:12} {n:8}  {:7.3} per 100 {per}s  {:5.1} %", 100.0 * n as f64 / work, 100.0 * n as f64 / instructions);
        }
    }
    if options.timeline {
        println!("{}", mca::timeline(core, &trace, 150)?);
    }
    Ok(())
}
