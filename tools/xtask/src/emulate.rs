//! AArch64 under QEMU: the program that is shipped, and the suites, on one emulated CPU per level of instruction sets.
//!
//! What a CPU must run is written here by its name, and not asked of what is tested.

use crate::ci::{Ran, passed};
use crate::dist;
use crate::shell::{Ended, capture, command, command_in, quiet_output, root, run_quietly};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub(crate) const TARGET: &str = "aarch64-unknown-linux-musl";
/// The linker that the toolchain brings along, so that no cross compiler is needed.
const LINKER: (&str, &str) = ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld");

/// A CPU that QEMU knows.
pub(crate) struct Core {
    name: &'static str,
    /// How many of [`ISAS`] it has.
    isas: usize,
}

/// The instruction sets of AArch64, each of which has those before it.
const ISAS: [&str; 4] = ["scalar", "neon", "dotprod", "i8mm"];

const CORES: [Core; 4] = [
    Core { name: "cortex-a53", isas: 2 },
    Core { name: "cortex-a72", isas: 2 },
    Core { name: "cortex-a76", isas: 3 },
    Core { name: "max", isas: 4 },
];

impl Core {
    fn isas(&self) -> &'static [&'static str] {
        &ISAS[..self.isas]
    }

    fn missing(&self) -> &'static [&'static str] {
        &ISAS[self.isas..]
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn best(&self) -> &'static str {
        ISAS[self.isas - 1]
    }

    /// The words that stand before a program.
    pub(crate) fn runner(&self) -> String {
        format!("qemu-aarch64 -cpu {}", self.name)
    }

    /// Runs a program on this CPU.
    fn capture(&self, program: &Path, arguments: &[&str]) -> Result<Ended, String> {
        capture(command(&self.runner()).arg(program).args(arguments))
    }

    /// The output of a program that must succeed.
    fn output(&self, program: &Path, arguments: &[&str]) -> Result<String, String> {
        self.capture(program, arguments)?.success()
    }
}

/// `work` on every CPU, as many at a time as this machine has cores. What they return, in order.
pub(crate) fn on_every_core<T: Send>(work: impl Fn(&Core) -> Result<T, String> + Sync) -> Result<Vec<T>, String> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<T, String>)>> = Mutex::default();
    // The slowest, which has the most instruction sets, begins.
    let order: Vec<usize> = (0..CORES.len()).rev().collect();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(CORES.len()) {
            scope.spawn(|| {
                while let Some(&core) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(&CORES[core]).map_err(|e| format!("QEMU, {}: {e}", CORES[core].name));
                    results.lock().expect("no thread panics").push((core, result));
                }
            });
        }
    });
    let mut results = results.into_inner().map_err(|_| "a thread panicked")?;
    results.sort_by_key(|(core, _)| *core);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The shipped program on every CPU: an instruction that the CPU lacks is fatal; the self-test runs what it has, and all of it; the
/// demonstration chooses the best and writes what it writes here.
pub(crate) fn shipped(ran: &mut Ran) -> Result<(), String> {
    let program = dist::program(TARGET, "kinglet")?;
    let probe = root().join("target/probe-aarch64");
    let mut rustc = command(&format!("rustc --edition 2024 -O --target {TARGET} -C linker={} -o", LINKER.1));
    run_quietly(rustc.arg(&probe).arg("tests/emulation/probe.rs"))?;
    let given = selftest_of_given_models()?;
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let demo = ["demo", "--no-calibration", "-t", "1"];
    let (here, _) = story(&quiet_output(command("target/release/kinglet").args(demo))?)?;
    let selftests = on_every_core(|core| {
        let started = Instant::now();
        traps(core, &probe)?;
        refuses(core, &program)?;
        let (there, isas) = story(&core.output(&program, &demo)?)?;
        if there != here {
            return Err(format!("expected the demonstration to print\n{here}\ngot\n{there}"));
        }
        if isas.iter().any(|isa| isa != core.best()) {
            return Err(format!("expected the demonstration to choose {}, it ran {isas:?}", core.best()));
        }
        // One quantises for itself.
        let quantises = core.name == CORES[0].name;
        let text = core.output(&program, if quantises { &given[..1] } else { &given })?;
        let found: Vec<&str> = ISAS.into_iter().filter(|isa| passed(&text, isa)).collect();
        if found != core.isas() {
            return Err(format!("expected the instruction sets {:?} to run, {found:?} did:\n{text}", core.isas()));
        }
        Ok((text, started.elapsed().as_secs()))
    })?;
    for (core, (text, seconds)) in CORES.iter().zip(selftests) {
        print!("{text}");
        println!("QEMU, {}: probes, demo, selftest in {seconds} s", core.name);
        ran.add(format!("{} (QEMU, {})", core.isas().join(", "), core.name));
    }
    Ok(())
}

/// The arguments of a self-test that quantises nothing, which takes an emulated CPU minutes, and is given files made here.
pub(crate) fn selftest_of_given_models() -> Result<Vec<String>, String> {
    let models = root().join("target/tiny");
    std::fs::create_dir_all(&models).map_err(|e| format!("{}: {e}", models.display()))?;
    let mut arguments = vec![String::from("selftest")];
    for dtype in ["q4", "q8"] {
        let model = models.join(format!("{dtype}.kgl"));
        capture(command("target/release/quantize --force --type").arg(dtype).arg("tests/models/tiny").arg(&model))?.success()?;
        arguments.extend([String::from("-m"), format!("target/tiny/{dtype}.kgl")]);
    }
    Ok(arguments)
}

/// The emulator stands for the CPU: it runs one instruction of each set that the CPU has, and dies of the others.
fn traps(core: &Core, probe: &Path) -> Result<(), String> {
    for isa in &core.isas()[1..] {
        core.output(probe, &[isa])?;
    }
    for isa in core.missing() {
        let ended = core.capture(probe, &[isa])?;
        if !ended.is_illegal_instruction() {
            return Err(format!("an instruction of {isa} must be illegal there, but the probe ended so: {}", ended.how()));
        }
    }
    Ok(())
}

/// Asking for what the CPU lacks is an error that says so, and no crash.
fn refuses(core: &Core, program: &Path) -> Result<(), String> {
    for isa in core.missing() {
        let ended = core.capture(program, &["selftest", "--isa", isa])?;
        let says = format!("--isa {isa}: this machine does not have it; expected one of {}", core.isas().join(", "));
        if ended.code() != Some(1) || !ended.stderr.contains(&says) {
            return Err(format!("expected exit code 1 and `{says}`, got {}: {}", ended.how(), ended.stderr));
        }
    }
    Ok(())
}

/// What the demonstration prints without its times, and the instruction sets that it says it ran.
fn story(demo: &str) -> Result<(String, Vec<String>), String> {
    let (times, story): (Vec<&str>, Vec<&str>) = demo.lines().partition(|line| line.contains(" tokens/s, "));
    let isa = |line: &&str| Some(line.split_once(" kernels, ")?.0.rsplit_once("; ")?.1.to_owned());
    let isas: Vec<String> = times.iter().filter_map(isa).collect();
    if isas.len() != 2 || story.is_empty() {
        return Err(format!("expected a demonstration at two types, each with its kernels, got\n{demo}"));
    }
    Ok((story.join("\n"), isas))
}

/// A test program and the folder that it runs in.
struct Suite {
    name: String,
    /// The package's folder.
    place: String,
    program: PathBuf,
    folder: PathBuf,
}

/// Suites of the commands, which start them hundreds of times. The gate `isa` runs the commands themselves.
const NOT_EMULATED: [&str; 3] = ["bench_cli", "kinglet_cli", "quantize_cli"];
/// Suites that take minutes, and the one CPU, by its place in [`CORES`], that runs each.
const ONCE: [(&str, usize); 2] = [("calibration", 1), ("conformance", 2)];

/// The same test programs on every CPU.
pub(crate) fn suites(ran: &mut Ran) -> Result<(), String> {
    let mut suites = build_suites()?;
    for name in NOT_EMULATED.iter().chain(ONCE.iter().map(|(name, _)| name)) {
        if !suites.iter().any(|suite| suite.name == *name) {
            return Err(format!("there is no suite {name}"));
        }
    }
    suites.retain(|suite| !NOT_EMULATED.contains(&suite.name.as_str()));
    let reports = on_every_core(|core| {
        let mut lines = Vec::new();
        let (mut tests, started) = (0, Instant::now());
        let elsewhere = |suite: &&Suite| !ONCE.iter().any(|(name, place)| *name == suite.name && CORES[*place].name != core.name);
        for suite in suites.iter().filter(elsewhere) {
            let began = Instant::now();
            let mut command = command_in(&suite.folder, &core.runner());
            // Those that start the commands put these words before them.
            let ended = capture(command.arg(&suite.program).env("KINGLET_RUNNER", core.runner()))?;
            let text = ended.success().map_err(|e| format!("{}: {e}", suite.name))?;
            let passed = count(&text).ok_or_else(|| format!("{} tells no result:\n{text}", suite.name))?;
            tests += passed;
            if passed > 0 {
                lines.push(format!("{:4} tests {:4} s  {}: {}", passed, began.elapsed().as_secs(), suite.place, suite.name));
            }
        }
        Ok((tests, started.elapsed().as_secs(), lines))
    })?;
    for (core, (tests, seconds, lines)) in CORES.iter().zip(reports) {
        println!("QEMU, {}: {tests} tests of {} suites in {seconds} s\n  {}", core.name, lines.len(), lines.join("\n  "));
        ran.add(format!("{tests} tests (QEMU, {})", core.name));
    }
    println!("not under QEMU: {}", NOT_EMULATED.join(", "));
    Ok(())
}

/// The test programs of what runs on a target: not of the gates, nor of the benchmarks, and not the examples in the documentation.
fn build_suites() -> Result<Vec<Suite>, String> {
    let line = format!(
        "cargo test --release --workspace --exclude xtask --exclude kinglet-benches --target {TARGET} --no-run --message-format json-render-diagnostics"
    );
    let messages = quiet_output(command(&line).env(LINKER.0, LINKER.1))?;
    let mut suites = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).map_err(|e| format!("a message of cargo: {e}"))?;
        let (Some(program), true) = (message["executable"].as_str(), message["profile"]["test"] == true) else { continue };
        let field = |value: &Value| value.as_str().map(str::to_owned).ok_or("a message of cargo lacks a field");
        let manifest = PathBuf::from(field(&message["manifest_path"])?);
        let folder = manifest.parent().ok_or("a manifest without a folder")?.to_owned();
        let place = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        suites.push(Suite { name: field(&message["target"]["name"])?, place, program: PathBuf::from(program), folder });
    }
    if suites.is_empty() {
        return Err(format!("`{line}` names no test program"));
    }
    suites.sort_by(|a, b| (&a.place, &a.name).cmp(&(&b.place, &b.name)));
    Ok(suites)
}

/// How many tests passed; nothing where no result is told.
fn count(text: &str) -> Option<usize> {
    let mut results = text.lines().filter_map(|line| line.strip_prefix("test result: ok. ")).peekable();
    results.peek()?;
    results.map(|rest| rest.split_once(" passed")?.0.parse::<usize>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_told_from_its_times() {
        let demo = |isa: &str| {
            format!(
                "A tiny\n\nq4: It\n\nq4: 96 tokens, 3908 tokens/s, 5 ms to; {isa} kernels, 1 thread\n\nq8: 9 tokens, 2 tokens/s, 1; {isa} kernels, 2 threads\n"
            )
        };
        let (text, isas) = story(&demo("neon")).expect("a demonstration");
        assert_eq!(isas, ["neon", "neon"]);
        assert_eq!(text, story(&demo("avx2")).expect("a demonstration").0);
        assert!(text.contains("q4: It") && !text.contains("tokens/s"));
        assert!(story("q4: It").is_err());
    }

    #[test]
    fn tests_are_counted() {
        let ok = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert_eq!(count(ok), Some(2));
        assert_eq!(count(&ok.repeat(2)), Some(4));
        for text in ["", "test result: ok. many passed", "test result: FAILED. 2 passed; 1 failed"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
