//! `cargo xtask arm-cycles`: what the kernels cost on ARM cores that are not at hand.
//!
//! Instructions are counted by running a kernel under QEMU with a plugin that writes down what is executed
//! (`tools/tcg-trace`). `llvm-mca` then plays the whole trace, a straight line, on its models of the cores. No time is
//! measured: every load hits the first cache, no branch is mispredicted, and a model is only as good as what its makers
//! wrote down.

mod ggml;
mod mca;
mod report;
mod trace;

use crate::emulate::TARGET;
pub(crate) use mca::LLVM;
use mca::{Core, Cycles};
use report::Table;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use trace::{Trace, Unit};

/// The program of kernels, which [`trace::build`] builds.
fn arm_kernels() -> String {
    format!("target/{TARGET}/release/arm_kernels")
}

/// One kernel on one shape. For attention, rows are positions, columns channels, tokens query rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    kernel: String,
    rows: usize,
    cols: usize,
    tokens: usize,
}

impl Case {
    fn new(kernel: &str, rows: usize, cols: usize, tokens: usize) -> Self {
        Self { kernel: kernel.to_owned(), rows, cols, tokens }
    }

    fn unit(&self) -> Unit {
        match self.kernel.as_str() {
            "matmul_q4" | "matmul_q8" | "attend_i8" => Unit::Int8,
            "matmul_f16" | "matmul_f32" | "attend_f32" => Unit::Float,
            _ => Unit::Values,
        }
    }

    fn shape(&self) -> String {
        let Self { rows, cols, tokens, .. } = self;
        match self.kernel.as_str() {
            name if name.starts_with("matmul") => format!("{rows}x{cols}, {tokens}"),
            name if name.starts_with("attend") => format!("{rows}x{cols}, {tokens}"),
            _ => format!("{tokens}x{cols}"),
        }
    }

    fn record(&self, program: &Program) -> Result<Trace, String> {
        let shape = [self.rows, self.cols, self.tokens].map(|n| n.to_string());
        let [rows, cols, tokens] = shape.each_ref().map(String::as_str);
        match program {
            Program::Kinglet(isa) => trace::record(&arm_kernels(), &[isa, &self.kernel, rows, cols, tokens]),
            Program::Ggml(core) => trace::record(&ggml::program(core), &[&self.kernel, rows, cols, tokens]),
        }
    }
}

/// Whose kernel is run.
#[derive(Clone, Debug)]
enum Program {
    /// Kinglet's, of an instruction set.
    Kinglet(String),
    /// ggml's, as compiled for a core.
    Ggml(&'static Core),
}

/// What the tables hold: products, attention, the rest. Shapes are small, so that whole traces can be played, and large
/// enough for what a call does besides to be some percent.
fn cases() -> Vec<Case> {
    let product = |kernel, tokens: [usize; 3]| tokens.map(|tokens| Case::new(kernel, 16, 1024, tokens));
    let attention = |kernel, rows: &[usize]| rows.iter().map(|&rows| Case::new(kernel, 128, 64, rows)).collect::<Vec<_>>();
    let vectors = ["quantise", "subtract", "rms_norm", "layer_norm", "add", "silu", "gelu_tanh", "gelu_erf"];
    let heads = ["quantise_heads", "rope", "merge"];
    let mut cases = Vec::new();
    cases.extend(product("matmul_q4", [1, 4, 48]));
    // Two vectors a token.
    cases.extend(product("matmul_q8", [1, 2, 24]));
    cases.extend(["matmul_f16", "matmul_f32"].map(|kernel| Case::new(kernel, 16, 512, 4)));
    cases.extend(attention("attend_i8", &[1, 3, 8]));
    cases.extend(attention("attend_f32", &[3]));
    cases.extend(vectors.map(|kernel| Case::new(kernel, 1, 512, 2)));
    cases.extend(heads.map(|kernel| Case::new(kernel, 1, 64, 16)));
    cases
}

/// A machine with such cores: how many share the memory, their clock, and what the memory gives all of them.
struct Board {
    name: &'static str,
    core: &'static str,
    cores: f64,
    ghz: f64,
    /// From and to, in 10⁹ bytes a second.
    memory: [f64; 2],
}

/// Bandwidths are assumptions: for the Raspberries what a program may hope for from chips of 12.8 and 17.1 GB/s, for the
/// Jetson 70 % to all of its data sheet's.
const BOARDS: &[Board] = &[
    Board { name: "Raspberry Pi 4", core: "A72", cores: 4.0, ghz: 1.8, memory: [3.0, 4.0] },
    Board { name: "Raspberry Pi 5", core: "A76", cores: 4.0, ghz: 2.4, memory: [12.0, 15.0] },
    Board { name: "Jetson Orin NX", core: "A78", cores: 8.0, ghz: 2.0, memory: [72.0, 102.4] },
];

const HELP: &str = "\
cargo xtask arm-cycles [OPTION...]    without --kernel or --smoke: tables of all kernels on all cores
  --core NAME       one core: A53, A72, A76, A76* (LLVM's own model), A78, A710; or LLVM's name for one
  --ggml FOLDER     ggml's kernels for the same types beside them; llama-cpp-python has the sources in vendor/llama.cpp/ggml
  --markdown        tables in Markdown
  --models          what the models say of single instructions, and nothing else
  --smoke           the gate of CI: a product's counts, and that they do not change
  --kernel NAME     one kernel: matmul_{q4,q8,f16,f32}, attend_{i8,f32}, quantise, quantise_heads, subtract, rms_norm,
                    layer_norm, rope, silu, gelu_tanh, gelu_erf, add, merge; and for it
  --rows N --cols N --tokens N
                    its shape, 16, 1024, 16 where not given; for attend_* positions, channels, query
                    rows, 128, 64, 16
  --isa NAME        scalar, neon, dotprod, i8mm; the core's largest where not given
  --pressure        which units of the core are busy
  --mix             which instructions are executed
  --timeline        llvm-mca's picture of 150 instructions";

#[derive(Debug, Default)]
struct Options {
    kernel: Option<String>,
    core: Option<&'static Core>,
    isa: Option<String>,
    ggml: Option<PathBuf>,
    shape: [Option<usize>; 3],
    markdown: bool,
    models: bool,
    smoke: bool,
    pressure: bool,
    mix: bool,
    timeline: bool,
    help: bool,
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
                "--ggml" => options.ggml = Some(std::path::absolute(value()?).map_err(|e| format!("--ggml: {e}"))?),
                "--rows" => options.shape[0] = Some(number(arg, value()?)?),
                "--cols" => options.shape[1] = Some(number(arg, value()?)?),
                "--tokens" => options.shape[2] = Some(number(arg, value()?)?),
                "--markdown" => options.markdown = true,
                "--models" => options.models = true,
                "--smoke" => options.smoke = true,
                "--pressure" | "--resource-pressure" => options.pressure = true,
                "--mix" => options.mix = true,
                "--timeline" => options.timeline = true,
                "--help" | "-h" => options.help = true,
                _ => return Err(format!("there is no option {arg:?}\n{HELP}")),
            }
        }
        let of_one = [options.pressure, options.mix, options.timeline, options.isa.is_some(), options.shape != [None; 3]];
        if options.kernel.is_none() && of_one.contains(&true) {
            return Err("--isa, --rows, --cols, --tokens, --pressure, --mix and --timeline need --kernel".to_owned());
        }
        Ok(options)
    }

    fn cores(&self) -> impl Iterator<Item = &'static Core> {
        mca::CORES.iter().filter(|core| self.core.is_none_or(|wanted| wanted.name == core.name))
    }
}

fn number(option: &str, text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{option}: expected a number, got {text:?}"))
}

/// Runs the task.
///
/// # Errors
/// If an argument is wrong, a tool is missing, or one fails.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let options = Options::parse(args)?;
    if options.help {
        println!("{HELP}");
        return Ok(());
    }
    if options.models {
        mca::need()?;
        for (title, table) in mca::models()? {
            println!("{title}\n\n{}", table.text(options.markdown));
        }
        return Ok(());
    }
    if options.smoke {
        return smoke();
    }
    trace::build()?;
    if let Some(source) = &options.ggml {
        let mut built = Vec::new();
        for core in options.cores() {
            if !built.contains(&core.clang) {
                ggml::build(source, core)?;
                built.push(core.clang);
            }
        }
    }
    match &options.kernel {
        None => tables(&options),
        Some(kernel) => {
            let [rows, cols, tokens] = options.shape;
            let (default_rows, default_cols) = if kernel.starts_with("attend") { (128, 64) } else { (16, 1024) };
            let case = Case::new(kernel, rows.unwrap_or(default_rows), cols.unwrap_or(default_cols), tokens.unwrap_or(16));
            let cores: Vec<_> = options.cores().filter(|core| options.isa.as_deref().is_none_or(|isa| core.has(isa))).collect();
            if cores.is_empty() {
                return Err(format!("--isa: the core does not have {:?}", options.isa.unwrap_or_default()));
            }
            cores.into_iter().try_for_each(|core| one(&case, core, &options))
        }
    }
}

/// Everything about one kernel on one core.
fn one(case: &Case, core: &'static Core, options: &Options) -> Result<(), String> {
    let isa = options.isa.as_deref().unwrap_or(core.isa);
    println!("{} {} on {} (llvm-mca {}; {})", case.kernel, case.shape(), core.name, core.mcpu, core.about);
    explain(isa, &case.record(&Program::Kinglet(isa.to_owned()))?, case.unit(), core, options)?;
    if options.ggml.is_some() && ggml::KERNELS.contains(&case.kernel.as_str()) {
        explain("ggml", &case.record(&Program::Ggml(core))?, case.unit(), core, options)?;
    }
    Ok(())
}

fn explain(name: &str, trace: &Trace, unit: Unit, core: &Core, options: &Options) -> Result<(), String> {
    let cycles = mca::cycles(core, trace, options.pressure)?;
    let (instructions, work) = (trace.executed.len() as f64, trace.work);
    let per = if unit == Unit::Values { "value" } else { "multiply-add" };
    println!("  {name}: {instructions} instructions, {:.4} per {per}, {:.2} per cycle", instructions / work, instructions / cycles.total);
    println!("  {:.0} cycles, {:.4} per {per}, {:.2} {per}s per cycle", cycles.total, cycles.total / work, work / cycles.total);
    if let Some(peak) = mca::peak(core, unit)? {
        println!("  {:.1} % of the peak of {peak:.0} per cycle", 100.0 * work / cycles.total / peak);
    }
    if trace.terms > 1.0 {
        println!("  {} vectors a token: {:.4} cycles per weight and token", trace.terms, cycles.total / work * trace.terms);
    }
    if trace.bytes > 0.0 {
        println!("  {:.3} bytes of weights per cycle", trace.bytes / cycles.total);
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
        println!("{}", mca::timeline(core, trace, 150)?);
    }
    Ok(())
}

/// A kernel on a core, played.
struct Played {
    /// Index into the cases.
    case: usize,
    core: &'static Core,
    ggml: bool,
    instructions: f64,
    work: f64,
    bytes: f64,
    cycles: f64,
}

fn tables(options: &Options) -> Result<(), String> {
    let cases = cases();
    let kinglet = options.cores().flat_map(|core| (0..cases.len()).map(move |case| (case, core, false)));
    let has = |case: usize| options.ggml.is_some() && ggml::KERNELS.contains(&cases[case].kernel.as_str());
    let ggml = options.cores().flat_map(|core| (0..cases.len()).filter(|case| has(*case)).map(move |case| (case, core, true)));
    let played = play(&cases, &kinglet.chain(ggml).collect::<Vec<_>>())?;
    let find = |case, core: &Core, ggml| played.iter().find(|p| p.case == case && p.core.name == core.name && p.ggml == ggml);

    let cores: Vec<_> = options.cores().collect();
    // A core for each instruction set: what is executed is the same on the others.
    let mut firsts = cores.clone();
    firsts.dedup_by_key(|core| core.isa);
    let table_of = |cores: &[&Core], name: fn(&Core) -> &'static str| {
        Table::new(&["kernel", "shape"].into_iter().chain(cores.iter().map(|core| name(core))).collect::<Vec<_>>())
    };
    // A row for each of some kernels and each contender: what `cell` says of it on every core.
    let rows = |table: &mut Table, cores: &[&Core], cases: &[(usize, &Case)], cell: &dyn Fn(&Played) -> String| {
        for &(at, case) in cases {
            for ggml in [false, true] {
                let played: Vec<_> = cores.iter().filter_map(|core| find(at, core, ggml)).collect();
                if !played.is_empty() {
                    let name = if ggml { ggml::name(&case.kernel) } else { &case.kernel };
                    table.row([name.to_owned(), case.shape()].into_iter().chain(played.into_iter().map(cell)).collect());
                }
            }
        }
    };
    let of = |unit| cases.iter().enumerate().filter(move |(_, case)| case.unit() == unit).collect::<Vec<_>>();

    println!("Products and attention: cycles per multiply-add, and the share of the peak that is.\n");
    let mut table = table_of(&cores, |core| core.name);
    for (unit, name) in [(Unit::Int8, "peak of bytes"), (Unit::Float, "peak of floats")] {
        let peaks =
            cores.iter().map(|core| mca::peak(core, unit)).collect::<Result<Option<Vec<f64>>, _>>()?.ok_or("a peak for products")?;
        let per_cycle = peaks.iter().map(|peak| format!("{:.3} 100 %", 1.0 / peak));
        table.row([name, ""].map(str::to_owned).into_iter().chain(per_cycle).collect());
        let cell = |p: &Played| {
            let peak = cores.iter().zip(&peaks).find(|(core, _)| core.name == p.core.name).map_or(f64::NAN, |(_, peak)| *peak);
            format!("{:.3} {:3.0} %", p.cycles / p.work, 100.0 * p.work / p.cycles / peak)
        };
        rows(&mut table, &cores, &of(unit), &cell);
    }
    println!("{}", table.text(options.markdown));

    if options.ggml.is_some() {
        println!("The same product, its tokens included: ggml's cycles divided by Kinglet's. Above 1 Kinglet is faster.\n");
        let mut table = table_of(&cores, |core| core.name);
        for (at, case) in of(Unit::Int8) {
            let ratios = cores.iter().map(|core| Some(find(at, core, true)?.cycles / find(at, core, false)?.cycles));
            if let Some(ratios) = ratios.collect::<Option<Vec<_>>>() {
                let name = format!("{} / {}", ggml::name(&case.kernel), case.kernel.trim_start_matches("matmul_"));
                table.row([name, case.shape()].into_iter().chain(ratios.iter().map(|ratio| format!("{ratio:.2}"))).collect());
            }
        }
        println!("{}", table.text(options.markdown));
    }

    let mut table = Table::new(&["board", "memory", "weights", "bytes/weight", "computing", "memory", "bound by"]);
    for board in BOARDS {
        for core in options.cores().filter(|core| core.name == board.core) {
            for (at, case) in cases.iter().enumerate().filter(|(_, case)| case.tokens == 1 && case.kernel.starts_with("matmul_q")) {
                for p in [false, true].into_iter().filter_map(|ggml| find(at, core, ggml)) {
                    let weights = (case.rows * case.cols) as f64;
                    let memory = board.memory.map(|gb_s| p.bytes / weights / (gb_s / board.cores / board.ghz));
                    let computing = p.cycles / weights;
                    let bound = match memory {
                        [most, least] if computing > most.max(least) => "computing",
                        [most, least] if computing < most.min(least) => "memory",
                        _ => "either",
                    };
                    let types = if p.ggml { ggml::name(&case.kernel) } else { case.kernel.trim_start_matches("matmul_") };
                    let [lo, hi] = board.memory;
                    let setting = format!("{lo} to {hi} GB/s for {} cores of {} GHz", board.cores, board.ghz);
                    let [most, least] = memory;
                    let numbers = [format!("{:.3}", p.bytes / weights), format!("{computing:.3}"), format!("{least:.3} to {most:.3}")];
                    table.row(
                        [board.name, &setting, types].map(str::to_owned).into_iter().chain(numbers).chain([bound.to_owned()]).collect(),
                    );
                }
            }
        }
    }
    if !table.is_empty() {
        println!("Matrix times vector on boards: cycles of a core per weight, for computing and for its share of the memory.\n");
        println!("{}", table.text(options.markdown));
    }

    println!("Everything else: cycles per value.\n");
    let mut table = table_of(&cores, |core| core.name);
    rows(&mut table, &cores, &of(Unit::Values), &|p| format!("{:.2}", p.cycles / p.work));
    println!("{}", table.text(options.markdown));
    println!("Instructions per multiply-add, and per value below.\n");
    let mut table = table_of(&firsts, |core| core.isa);
    for unit in [Unit::Int8, Unit::Float, Unit::Values] {
        rows(&mut table, &firsts, &of(unit), &|p| format!("{:.3}", p.instructions / p.work));
    }
    println!("{}", table.text(options.markdown));
    legend(options)
}

/// What the tables do not say.
const NOTES: &[&str] = &[
    "Nothing was measured on such a core. Instructions were counted under QEMU, cycles are those of llvm-mca's models: every load hits \
     the first cache, no branch is mispredicted, calls and returns cost a branch.",
    "Shapes: rows x columns, tokens; positions x channels, query rows; vectors x values.",
    "With q8 a token is two vectors, and the multiply-adds of both are counted.",
    "A peak is that of independent smlal, sdot or smmla, for floats of fmul and fadd, in the same model.",
    "No fewer cycles are given than the core takes to decode the instructions: the models begin behind the decoder.",
];

fn legend(options: &Options) -> Result<(), String> {
    println!("Cores, and the model of LLVM {} that stands for each:\n", LLVM);
    let mut table = Table::new(&["core", "-mcpu", "decodes", "about"]);
    for core in options.cores() {
        table.row(vec![core.name.to_owned(), core.mcpu.to_owned(), format!("{:.0}", core.decode), core.about.to_owned()]);
    }
    println!("{}", table.text(options.markdown));
    for line in NOTES {
        println!("- {line}");
    }
    if options.ggml.is_none() {
        println!("- Without --ggml there are Kinglet's kernels only.");
    }
    Ok(())
}

/// Plays every job, on as many cores as this machine has.
fn play(cases: &[Case], jobs: &[(usize, &'static Core, bool)]) -> Result<Vec<Played>, String> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Ok(Vec::new())));
    let worker = || {
        while let Some(&(case, core, ggml)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let program = if ggml { Program::Ggml(core) } else { Program::Kinglet(core.isa.to_owned()) };
            let result = cases[case].record(&program).and_then(|trace| {
                let Cycles { total, skipped, .. } = mca::cycles(core, &trace, false)?;
                if skipped > 0 {
                    return Err(format!("{:?} of {program:?}: the model {} does not know {skipped} instructions", cases[case], core.mcpu));
                }
                let Trace { work, bytes, .. } = trace;
                Ok(Played { case, core, ggml, instructions: trace.executed.len() as f64, work, bytes, cycles: total })
            });
            let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match (result, &mut *done) {
                (Ok(played), Ok(all)) => all.push(played),
                (Err(e), Ok(_)) => {
                    *done = Err(e);
                    next.store(jobs.len(), Ordering::Relaxed);
                }
                (_, Err(_)) => return,
            }
        }
    };
    eprintln!("playing {} kernels on models of cores; about a second each", jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The gate: the tools work, and a product is counted plausibly and twice the same.
pub(crate) fn smoke() -> Result<(), String> {
    trace::build()?;
    let case = Case::new("matmul_q4", 16, 512, 4);
    // Multiply-adds that one instruction can do, and the instruction that must be seen.
    for (isa, most, instruction) in [("neon", 8.0, "mlal"), ("dotprod", 16.0, "sdot"), ("i8mm", 32.0, "smmla")] {
        let program = Program::Kinglet(isa.to_owned());
        let (trace, again) = (case.record(&program)?, case.record(&program)?);
        let count = trace.executed.len() as f64 / trace.work;
        if trace.mix() != again.mix() {
            return Err(format!("{isa}: two runs executed different instructions, {} and {}", trace.executed.len(), again.executed.len()));
        }
        if !(1.0 / most..1.5).contains(&count) {
            return Err(format!("{isa}: {count:.3} instructions per multiply-add; expected {} to 1.5", 1.0 / most));
        }
        if !trace.mix().iter().any(|(name, _)| name.contains(instruction)) {
            return Err(format!("{isa}: no {instruction} among the instructions"));
        }
        let core = mca::CORES.iter().find(|core| core.isa == isa).ok_or("a core for every instruction set")?;
        let cycles = mca::cycles(core, &trace, false)?;
        let peak = mca::peak(core, Unit::Int8)?.ok_or("a peak for bytes")?;
        let share = trace.work / cycles.total / peak;
        if cycles.skipped > 0 || !(0.02..=1.0).contains(&share) {
            return Err(format!("{isa} on {}: {:.1} % of the peak, {} instructions left out", core.name, 100.0 * share, cycles.skipped));
        }
        println!(
            "{} {} {isa}: {count:.3} instructions per multiply-add, {:.1} % of the peak of {}",
            case.kernel,
            case.shape(),
            100.0 * share,
            core.name
        );
    }
    Ok(())
}
