//! AArch64 under QEMU: the program that is shipped, and the suites, on one emulated CPU per level of instruction sets.
//!
//! What a CPU must run is written here by its name, and not asked of what is tested.

use crate::ci::{Ran, intrinsics_left_out_of_line, passed};
use crate::dist::{self, Programs};
use crate::shell::{Ended, capture, command, command_in, in_parallel, quiet_output, root, run_quietly};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is emulated is built for this: static, so that QEMU needs no system around it. Its linker stands in
/// `.cargo/config.toml`, which `rustc` alone does not read.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-musl";

/// A CPU that QEMU knows.
pub(crate) struct Core {
    name: &'static str,
    /// How many of [`ISAS`] it has.
    isas: usize,
}

/// The instruction sets of AArch64, each of which has those before it.
pub(crate) const ISAS: [&str; 4] = ["scalar", "neon", "dotprod", "i8mm"];

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

    /// Whether nothing is missing.
    fn is_largest(&self) -> bool {
        self.isas == ISAS.len()
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
    // The slowest, which has the most instruction sets, begins.
    let cores: Vec<&Core> = CORES.iter().rev().collect();
    let mut results = in_parallel(&cores, |core| work(core).map_err(|e| format!("QEMU, {}: {e}", core.name)))?;
    results.reverse();
    Ok(results)
}

/// The shipped programs. `quantize` makes the same files there as here. On every CPU, an instruction that it lacks is fatal; the
/// self-test runs all that it has; the demonstration chooses the best and writes what it writes here.
///
/// Emulated floats are slow, and calibrating takes most of them, so one CPU does it and the others get its files.
pub(crate) fn shipped(ran: &mut Ran) -> Result<(), String> {
    let Programs { kinglet, quantize } = dist::programs(TARGET)?;
    let intrinsics = quiet_output(command("nm -C").arg(&kinglet))?;
    if let Some(left) = intrinsics_left_out_of_line(&intrinsics).next() {
        return Err(format!("`{left}` is a function in {}: some kernel calls it instead of containing it", kinglet.display()));
    }
    let folder = root().join("target/emulated");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let probe = folder.join("probe");
    let mut rustc = command(&format!("rustc --edition 2024 -O --target {TARGET} -C linker=rust-lld -o"));
    run_quietly(rustc.arg(&probe).arg("tests/emulation/probe.rs"))?;
    let files = quantise(&quantize)?;
    let (here, _) = story(&quiet_output(&mut command("target/release/kinglet demo --no-calibration -t 1"))?)?;
    let selftests = on_every_core(|core| {
        let started = Instant::now();
        traps(core, &probe)?;
        refuses(core, &kinglet)?;
        let (there, isas) = story(&core.output(&kinglet, &["demo", "--no-calibration", "-t", "1"])?)?;
        if there != here {
            return Err(format!("expected the demonstration to print\n{here}\ngot\n{there}"));
        }
        if isas.iter().any(|isa| isa != core.best()) {
            return Err(format!("expected the demonstration to choose {}, it ran {isas:?}", core.best()));
        }
        let mut arguments = vec!["selftest"];
        arguments.extend(files.iter().flat_map(|file| ["-m", file]));
        let text = core.output(&kinglet, &arguments)?;
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

/// The arguments that have `quantize` make the tiny model into `out`.
fn tiny<'a>(dtype: &'a str, out: &'a str) -> [&'a str; 5] {
    ["tests/models/tiny", out, "--type", dtype, "--force"]
}

/// The tiny model at both types, made here; where they lie.
pub(crate) fn tiny_models() -> Result<[String; 2], String> {
    run_quietly(&mut command("cargo build --release --quiet --bin quantize"))?;
    std::fs::create_dir_all(root().join("target/emulated")).map_err(|e| format!("target/emulated: {e}"))?;
    let files = ["q4", "q8"].map(|dtype| format!("target/emulated/tiny-{dtype}-here.kgl"));
    for (dtype, file) in ["q4", "q8"].into_iter().zip(&files) {
        capture(command("target/release/quantize").args(tiny(dtype, file)))?.success()?;
    }
    Ok(files)
}

/// Quantises the tiny model at both types there, too, and compares the bytes. Returns the files.
fn quantise(quantize: &Path) -> Result<Vec<String>, String> {
    let core = CORES.iter().rfind(|core| core.is_largest()).ok_or("no CPU has everything")?;
    let mut files = Vec::new();
    for (dtype, here) in ["q4", "q8"].into_iter().zip(tiny_models()?) {
        let there = here.replace("here", "there");
        let started = Instant::now();
        core.output(quantize, &tiny(dtype, &there))?;
        let [a, b] = [&here, &there].map(|file| std::fs::read(root().join(file)).map_err(|e| format!("{file}: {e}")));
        if a? != b? {
            return Err(format!("{here} and {there} differ: `quantize` makes another file on QEMU, {}", core.name));
        }
        println!("QEMU, {}: quantize makes the same {dtype} file as here, in {} s", core.name, started.elapsed().as_secs());
        files.push(there);
    }
    Ok(files)
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
    /// As in `tests: bits`: its package's folder and its own name.
    name: String,
    program: PathBuf,
    folder: PathBuf,
}

/// Suites that go through kernels of every instruction set, and which tests of them; none named is all. The others run the same
/// code on every CPU, and so on one of them.
const ON_EVERY_CORE: [(&str, &[&str]); 5] = [
    ("runtime: kinglet", &[]),
    ("tests: bits", &["every_isa_equals_scalar"]),
    ("tests: conformance", &[]),
    ("tests: floats", &[]),
    ("tests: tiny", &[]),
];

/// Tests that are not run under QEMU, and why.
const LEFT_OUT: [(&str, &[&str], &str); 7] = [
    (
        "tests: bits",
        &["any_number_of_workers", "any_split_of_the_prompt", "logits_of_the_last_token_alone"],
        "hundreds of runs of whole models; on emulated CPUs the self-test has threads and batches, in the gate isa",
    ),
    ("tests: calibration", &["calibrated_q4_is_closer_to_f32"], "measures the quality of bits that are the same here"),
    (
        "tests: conformance",
        &["quantised_models_stay_close", "every_golden_file_is_sound"],
        "calibrates many models, in minutes of emulated floats; what they hold follows from the same bits",
    ),
    (
        "tests: tiny",
        &["quantised_logits_are_those_of_every_machine", "quantised_weights_are_those_of_every_machine"],
        "the gate isa holds both with the shipped programs",
    ),
    ("tools: kinglet_cli", &["the_demo_and_the_selftest_need_nothing"], "the gate isa runs both"),
    ("tools: kinglet_cli", &["a_peak_of_memory_is_the_file_the_arena_and_little_more"], "the memory that it measures is QEMU's, too"),
    ("tools: quantize_cli", &["memory_stays_within_its_bound"], "the memory that it measures is QEMU's, too"),
];

/// The same test programs on every CPU.
pub(crate) fn suites(ran: &mut Ran) -> Result<(), String> {
    let suites = build_suites()?;
    for name in ON_EVERY_CORE.iter().map(|(name, _)| name).chain(LEFT_OUT.iter().map(|(name, ..)| name)) {
        if !suites.iter().any(|suite| suite.name == *name) {
            return Err(format!("there is no suite {name:?}"));
        }
    }
    let reports = on_every_core(|core| {
        let mut lines = Vec::new();
        let (mut tests, started) = (0, Instant::now());
        for suite in &suites {
            let chosen: &[&str] = match ON_EVERY_CORE.iter().find(|(name, _)| *name == suite.name) {
                _ if core.is_largest() => &[],
                Some((_, tests)) => tests,
                None => continue,
            };
            let began = Instant::now();
            let left_out: Vec<&str> =
                LEFT_OUT.iter().filter(|(name, ..)| *name == suite.name).flat_map(|(_, tests, _)| *tests).copied().collect();
            let mut command = command_in(&suite.folder, &core.runner());
            command.arg(&suite.program).arg("--exact").args(chosen).args(left_out.iter().flat_map(|test| ["--skip", test]));
            // Those that start the commands put these words before them.
            let text = capture(command.env("KINGLET_RUNNER", core.runner()))?.success().map_err(|e| format!("{}: {e}", suite.name))?;
            let (passed, filtered) = count(&text).ok_or_else(|| format!("{} tells no result:\n{text}", suite.name))?;
            if !chosen.is_empty() && passed != chosen.len() {
                return Err(format!("{}: {passed} tests ran, not {chosen:?}", suite.name));
            }
            if chosen.is_empty() && filtered != left_out.len() {
                return Err(format!("{}: {filtered} tests left out, not {left_out:?}", suite.name));
            }
            tests += passed;
            lines.push(format!("{:4} tests {:4} s  {}", passed, began.elapsed().as_secs(), suite.name));
        }
        Ok((tests, started.elapsed().as_secs(), lines))
    })?;
    for (core, (tests, seconds, lines)) in CORES.iter().zip(reports) {
        println!("QEMU, {}: {tests} tests of {} suites in {seconds} s\n  {}", core.name, lines.len(), lines.join("\n  "));
        ran.add(format!("{tests} tests of {} suites (QEMU, {})", lines.len(), core.name));
    }
    let mut count = 0;
    for (suite, tests, why) in LEFT_OUT {
        println!("not run under QEMU: {suite}: {}: {why}", tests.join(", "));
        count += tests.len();
    }
    ran.add(format!("{count} tests not under QEMU, for reasons it printed"));
    Ok(())
}

/// The test programs of what runs on a target: not of the gates, nor of the benchmarks, and not the examples in the documentation.
fn build_suites() -> Result<Vec<Suite>, String> {
    let line = format!(
        "cargo test --release --workspace --exclude xtask --exclude kinglet-benches --target {TARGET} --no-run --message-format json-render-diagnostics"
    );
    let messages = quiet_output(&mut command(&line))?;
    let mut suites = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).map_err(|e| format!("a message of cargo: {e}"))?;
        let (Some(program), true) = (message["executable"].as_str(), message["profile"]["test"] == true) else { continue };
        let field = |value: &Value| value.as_str().map(str::to_owned).ok_or("a message of cargo lacks a field");
        let manifest = PathBuf::from(field(&message["manifest_path"])?);
        let folder = manifest.parent().ok_or("a manifest without a folder")?.to_owned();
        let place = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        suites.push(Suite { name: format!("{place}: {}", field(&message["target"]["name"])?), program: PathBuf::from(program), folder });
    }
    if suites.is_empty() {
        return Err(format!("`{line}` names no test program"));
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}

/// How many tests passed and how many were left out; nothing where no result is told.
fn count(text: &str) -> Option<(usize, usize)> {
    let results: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("test result: ok. ")).collect();
    let number = |result: &&str, word: &str| result.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse::<usize>().ok());
    let sum = |word| results.iter().map(|result| number(result, word)).sum::<Option<usize>>();
    if results.is_empty() { None } else { Some((sum(" passed")?, sum(" filtered out")?)) }
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
        let ok = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 1.00s\n";
        assert_eq!(count(ok), Some((2, 3)));
        assert_eq!(count(&ok.repeat(2)), Some((4, 6)));
        for text in ["", "test result: ok. many passed", "test result: FAILED. 2 passed; 1 failed"] {
            assert_eq!(count(text), None, "{text}");
        }
    }
}
