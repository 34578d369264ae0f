//! Cycles of a trace by `llvm-mca`: which cores, what their models are, and how a trace is prepared for them.

use super::trace::{Trace, Unit};
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
    /// The largest instruction set of Kinglet that the core has.
    pub(crate) isa: &'static str,
    /// Instructions that its front end decodes in a cycle: mca's models begin behind the decoder.
    pub(crate) decode: f64,
    /// What the reader has to know.
    pub(crate) about: &'static str,
}

/// In the order of the tables.
pub(crate) const CORES: &[Core] = &[
    Core { name: "A53", mcpu: "cortex-a53", isa: "neon", decode: 2.0, about: "in order; Raspberry Pi 3, Zero 2 W" },
    Core { name: "A72", mcpu: "cortex-a72", isa: "neon", decode: 3.0, about: "Raspberry Pi 4" },
    Core {
        name: "A76",
        mcpu: "neoverse-n1",
        isa: "dotprod",
        decode: 4.0,
        about: "Raspberry Pi 5; the model is that of Neoverse N1, the same core made for servers",
    },
    Core {
        name: "A76 as A57",
        mcpu: "cortex-a76",
        isa: "dotprod",
        decode: 4.0,
        about: "LLVM schedules for cortex-a76 and cortex-a78 with its model of A57, a core with half the loads and float sums",
    },
    Core {
        name: "A78",
        mcpu: "neoverse-n2",
        isa: "dotprod",
        decode: 6.0,
        about: "Jetson Orin; the nearest model, Neoverse N2, has as many vector and load pipes",
    },
    Core { name: "A710", mcpu: "neoverse-n2", isa: "i8mm", decode: 5.0, about: "with i8mm; Neoverse N2 is its server's form" },
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
    let (multiply_adds, body): (f64, &[&str]) = match (unit, core.isa) {
        (Unit::Int8, "i8mm") => (32.0, &["smmla v{}.4s, v30.16b, v31.16b"]),
        (Unit::Int8, "dotprod") => (16.0, &["sdot v{}.4s, v30.16b, v31.16b"]),
        (Unit::Int8, _) => (8.0, &["smlal v{}.8h, v30.8b, v31.8b"]),
        // The law of the kernels has no fused multiply-add.
        (Unit::Float, _) => (4.0, &["fmul v29.4s, v30.4s, v31.4s", "fadd v{}.4s, v{}.4s, v29.4s"]),
        (Unit::Values, _) => return Ok(None),
    };
    const CHAINS: usize = 24;
    const TURNS: usize = 40;
    let lines = (0..CHAINS * TURNS).flat_map(|i| body.iter().map(move |line| line.replace("{}", &(i % CHAINS).to_string()) + "\n"));
    let (out, err) = feed(mca(core).arg("-resource-pressure=false"), &lines.collect::<String>())?;
    let cycles = fields(&out, "Total Cycles:").next().ok_or_else(|| format!("llvm-mca -mcpu={}: {err}", core.mcpu))?;
    // Filling the pipeline is no part of it: a peak is a whole number of multiply-adds.
    Ok(Some((multiply_adds * (CHAINS * TURNS) as f64 / cycles).round()))
}
