//! Cycles of a trace by `llvm-mca`: which cores, what their models are, and how a trace is prepared for them.

use super::report::Table;
use super::trace::{self, Trace, Unit};
use crate::emulate::ISAS;
use crate::shell::feed;
use std::process::Command;

/// The version of LLVM whose models are used: figures of another are other figures.
pub(crate) const LLVM: &str = "19";
/// Instructions in a region. `llvm-mca` holds a region in memory; filling and draining the pipeline once for each is
/// some thousandth of its cycles.
const REGION: usize = 25_000;

/// A core, and the model that stands for it.
#[derive(Debug)]
pub(crate) struct Core {
    /// As the tables name it.
    pub(crate) name: &'static str,
    /// What `llvm-mca -mcpu` is given.
    pub(crate) mcpu: &'static str,
    /// What `clang -mcpu` is given.
    pub(crate) clang: &'static str,
    /// The largest instruction set of Kinglet that the core has.
    pub(crate) isa: &'static str,
    /// Instructions that its front end decodes in a cycle: mca's models begin behind the decoder.
    pub(crate) decode: f64,
    /// What the reader has to know.
    pub(crate) about: &'static str,
}

impl Core {
    /// Whether the core has an instruction set of this name.
    pub(crate) fn has(&self, isa: &str) -> bool {
        let place = |name| ISAS.iter().position(|isa| *isa == name);
        place(isa).is_some_and(|place_of| Some(place_of) <= place(self.isa))
    }
}

/// In the order of the tables.
pub(crate) const CORES: &[Core] = &[
    Core {
        name: "A53",
        mcpu: "cortex-a53",
        clang: "cortex-a53",
        isa: "neon",
        decode: 2.0,
        about: "Raspberry Pi 3, Zero 2 W; in order; a coarse model: each vector operation takes 6 cycles, a load of 16 bytes one",
    },
    Core { name: "A72", mcpu: "cortex-a72", clang: "cortex-a72", isa: "neon", decode: 3.0, about: "Raspberry Pi 4; LLVM has it as A57" },
    Core {
        name: "A76",
        mcpu: "neoverse-n1",
        clang: "cortex-a76",
        isa: "dotprod",
        decode: 4.0,
        about: "Raspberry Pi 5; Neoverse N1 is the same core made for servers",
    },
    Core {
        name: "A76*",
        mcpu: "cortex-a76",
        clang: "cortex-a76",
        isa: "dotprod",
        decode: 4.0,
        about: "what LLVM itself schedules for cortex-a76 and cortex-a78 with: its model of A57",
    },
    Core {
        name: "A78",
        mcpu: "neoverse-n2",
        clang: "cortex-a78",
        isa: "dotprod",
        decode: 6.0,
        about: "Jetson Orin (A78AE); Neoverse N2 is the nearest that LLVM models",
    },
    Core {
        name: "A710",
        mcpu: "neoverse-n2",
        clang: "cortex-a710",
        isa: "i8mm",
        decode: 5.0,
        about: "Neoverse N2 is the same core made for servers",
    },
];

/// The core of this name, or of this name of LLVM's.
pub(crate) fn core(name: &str) -> Result<&'static Core, String> {
    CORES.iter().find(|core| core.name.eq_ignore_ascii_case(name) || core.mcpu == name).ok_or_else(|| {
        let names: Vec<_> = CORES.iter().map(|core| format!("{:?} ({})", core.name, core.mcpu)).collect();
        format!("--core: expected one of {}, got {name:?}", names.join(", "))
    })
}

/// What `llvm-mca` says of a trace.
#[derive(Debug)]
pub(crate) struct Cycles {
    pub(crate) total: f64,
    /// Units of the core and the share of all cycles in which they are busy, where that was asked for.
    pub(crate) pressure: Vec<(String, f64)>,
    /// Instructions for which the model has no figures, and which were left out.
    pub(crate) skipped: usize,
}

/// Fails where the tools of LLVM are missing.
pub(crate) fn need() -> Result<(), String> {
    ["llvm-mca", "llvm-mc"].iter().try_for_each(|tool| trace::need(&format!("{tool}-{LLVM}"), &format!("llvm-{LLVM}")))
}

fn mca(core: &Core) -> Command {
    let mut command = Command::new(format!("llvm-mca-{LLVM}"));
    command.args(["-mtriple=aarch64", "-mattr=+all", "-iterations=1", "-instruction-info=false", "-skip-unsupported-instructions=any"]);
    command.arg(format!("-mcpu={}", core.mcpu));
    command
}

/// Cycles of a whole trace on `core`.
///
/// # Errors
/// If `llvm-mca` fails, or says nothing.
pub(crate) fn cycles(core: &Core, trace: &Trace, pressure: bool) -> Result<Cycles, String> {
    let regions: Vec<&[usize]> = trace.executed.chunks(REGION).collect();
    let text: String = regions
        .iter()
        .map(|region| {
            let lines: String = region.iter().map(|&i| trace.assembly(i)).collect();
            format!("# LLVM-MCA-BEGIN\n{lines}# LLVM-MCA-END\n")
        })
        .collect();
    let (out, err) = feed(mca(core).arg(format!("-resource-pressure={pressure}")), &text)?;
    let totals: Vec<f64> = fields(&out, "Total Cycles:").collect();
    if totals.len() != regions.len() {
        return Err(format!("llvm-mca -mcpu={}: expected {} regions, got {}:\n{err}", core.mcpu, regions.len(), totals.len()));
    }
    // What the decoder lets through is a bound of its own.
    let total = totals.iter().zip(&regions).map(|(cycles, region)| cycles.max(region.len() as f64 / core.decode)).sum();
    let pressure = if pressure { busy(&out).into_iter().map(|(name, cycles)| (name, cycles / total)).collect() } else { Vec::new() };
    let skipped = err.matches("error:").count() + err.matches("unsupported instruction").count();
    Ok(Cycles { total, pressure, skipped })
}

/// The numbers that stand behind `label` at the beginning of a line.
fn fields<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = f64> + 'a {
    text.lines().filter_map(move |line| line.strip_prefix(label)?.trim().parse().ok())
}

/// Busy cycles of each unit, over all regions.
fn busy(text: &str) -> Vec<(String, f64)> {
    let mut sums: Vec<(String, f64)> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "Resources:" {
            let names = lines.by_ref().map_while(|line| line.split_once(" - ")).map(|(_, name)| name);
            if sums.is_empty() {
                sums = names.map(|name| (name.to_owned(), 0.0)).collect();
            }
        } else if line == "Resource pressure per iteration:" {
            let values = lines.nth(1).unwrap_or_default().split_whitespace();
            for ((_, sum), value) in sums.iter_mut().zip(values) {
                *sum += value.parse().unwrap_or(0.0);
            }
        }
    }
    sums
}

/// `llvm-mca`'s picture of some instructions out of the middle of a trace.
///
/// # Errors
/// If `llvm-mca` fails.
pub(crate) fn timeline(core: &Core, trace: &Trace, instructions: usize) -> Result<String, String> {
    let start = trace.executed.len().saturating_sub(instructions) / 2;
    let text: String = trace.executed[start..].iter().take(instructions).map(|&i| trace.assembly(i)).collect();
    let (out, _) =
        feed(mca(core).args(["-timeline", "-timeline-max-cycles=0", "-bottleneck-analysis", "-resource-pressure=false"]), &text)?;
    Ok(out)
}

/// The best that a core's model can do: multiply-adds a cycle of independent chains of its best instruction.
///
/// # Errors
/// If `llvm-mca` fails.
pub(crate) fn peak(core: &Core, unit: Unit) -> Result<Option<f64>, String> {
    let (multiply_adds, instruction) = match (unit, core.isa) {
        (Unit::Int8, "i8mm") => (32, "smmla v{}.4s, v30.16b, v31.16b"),
        (Unit::Int8, "dotprod") => (16, "sdot v{}.4s, v30.16b, v31.16b"),
        (Unit::Int8, _) => (8, "smlal v{}.8h, v30.8b, v31.8b"),
        (Unit::Float, _) => (2, ""),
        (Unit::Values, _) => return Ok(None),
    };
    // Chains enough for any latency.
    const CHAINS: usize = 24;
    let line = |i: usize| match (instruction, i % CHAINS) {
        // The law of the kernels has no fused multiply-add: half of the chains multiply, half of them add that up.
        ("", chain @ ..12) => format!("fmul v{chain}.4s, v30.4s, v31.4s\n"),
        ("", chain) => format!("fadd v{chain}.4s, v{chain}.4s, v{}.4s\n", chain - 12),
        (instruction, chain) => instruction.replace("{}", &chain.to_string()) + "\n",
    };
    let turns = |turns: usize| format!("# LLVM-MCA-BEGIN\n{}# LLVM-MCA-END\n", (0..CHAINS * turns).map(line).collect::<String>());
    // The difference is free of what filling the pipeline takes.
    let (out, err) = feed(mca(core).arg("-resource-pressure=false"), &(turns(40) + &turns(20)))?;
    let [long, short] = fields(&out, "Total Cycles:").collect::<Vec<_>>()[..] else {
        return Err(format!("llvm-mca -mcpu={}: {err}", core.mcpu));
    };
    Ok(Some((multiply_adds * CHAINS * 20) as f64 / (long - short)))
}

/// Instructions whose rate is asked for, each on registers of its own: `{}` is the register's number.
const RATES: &[(&str, &str)] = &[
    ("smlal 8h", "smlal v{}.8h, v30.8b, v31.8b"),
    ("smlal 4s", "smlal v{}.4s, v30.4h, v31.4h"),
    ("sadalp", "sadalp v{}.4s, v30.8h"),
    ("mla 4s", "mla v{}.4s, v30.4s, v31.4s"),
    ("sdot", "sdot v{}.4s, v30.16b, v31.16b"),
    ("smmla", "smmla v{}.4s, v30.16b, v31.16b"),
    ("scvtf", "scvtf v{}.4s, v30.4s"),
    ("fmul", "fmul v{}.4s, v30.4s, v31.4s"),
    ("fadd", "fadd v{}.4s, v30.4s, v31.4s"),
    ("ushr", "ushr v{}.16b, v30.16b, #4"),
    ("ldr q", "ldr q{}, [x0]"),
    ("str q", "str q{}, [x0]"),
];

/// Instructions whose latency is asked for, each waiting for the one before.
const LATENCIES: &[(&str, &str)] = &[
    ("smlal 8h", "smlal v0.8h, v30.8b, v31.8b"),
    ("sadalp", "sadalp v0.4s, v30.8h"),
    ("mla 4s", "mla v0.4s, v30.4s, v31.4s"),
    ("sdot", "sdot v0.4s, v30.16b, v31.16b"),
    ("smmla", "smmla v0.4s, v30.16b, v31.16b"),
    ("scvtf", "scvtf v0.4s, v0.4s"),
    ("fmul", "fmul v0.4s, v0.4s, v31.4s"),
    ("fadd", "fadd v0.4s, v0.4s, v31.4s"),
    ("add", "add v0.4s, v0.4s, v31.4s"),
];

/// What each model says of single instructions: their rates, and their latencies in a chain.
///
/// # Errors
/// If `llvm-mca` fails.
pub(crate) fn models() -> Result<[(&'static str, Table); 2], String> {
    const TIMES: usize = 480;
    let probe = |probes: &[(&str, &str)], figure: fn(f64) -> f64| {
        let head: Vec<&str> = ["core", "-mcpu", "model"].into_iter().chain(probes.iter().map(|(name, _)| *name)).collect();
        let mut table = Table::new(&head);
        for core in CORES {
            let lines = |probe: &str, n: usize| (0..n).map(|i| probe.replace("{}", &(i % 24).to_string()) + "\n").collect::<String>();
            let region = |probe: &str, n| format!("# LLVM-MCA-BEGIN\n{}# LLVM-MCA-END\n", lines(probe, n));
            let text: String = probes.iter().map(|(_, probe)| region(probe, 2 * TIMES) + &region(probe, TIMES)).collect();
            let (out, err) = feed(&mut mca(core), &text)?;
            let cycles: Vec<f64> = fields(&out, "Total Cycles:").collect();
            if cycles.len() != 2 * probes.len() {
                return Err(format!("llvm-mca -mcpu={}: {err}", core.mcpu));
            }
            let unit = out.lines().find_map(|line| line.split_once(" - ")).map_or("", |(_, unit)| unit);
            let model = unit.split("Unit").next().unwrap_or_default();
            let figures = cycles.as_chunks().0.iter().map(|[long, short]| format!("{:.1}", figure((long - short) / TIMES as f64)));
            table.row([core.name, core.mcpu, model].map(str::to_owned).into_iter().chain(figures).collect());
        }
        Ok::<_, String>(table)
    };
    Ok([
        ("Instructions per cycle:", probe(RATES, f64::recip)?),
        ("Cycles from one to the next that needs it:", probe(LATENCIES, |cycles| cycles)?),
    ])
}
