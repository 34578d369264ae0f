//! The instructions that a program executes between its markers, as assembly.

use super::mca::{self, LLVM};
use crate::emulate::TARGET;
use crate::shell::{command, feed, quiet_output, root, run_quietly, works};
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a trace's work is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Multiply-adds of bytes.
    Int8,
    /// Multiply-adds of floats.
    Float,
    /// Values that go through.
    Values,
}

/// What was executed between the markers, and the work that was done.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Different instructions, as LLVM disassembles them and as `llvm-mca` is given them.
    lines: Vec<[String; 2]>,
    /// Indices into the lines, in the order of execution.
    pub(crate) executed: Vec<usize>,
    /// Multiply-adds or values.
    pub(crate) work: f64,
    /// Vectors that the kernel multiplies for each token.
    pub(crate) terms: f64,
    /// Bytes of the weights, where there are any.
    pub(crate) bytes: f64,
}

impl Trace {
    /// What `llvm-mca` is given for an executed instruction: one line or two.
    pub(crate) fn assembly(&self, index: usize) -> &str {
        &self.lines[index][1]
    }

    /// Mnemonics and how often each was executed, most frequent first.
    pub(crate) fn mix(&self) -> Vec<(String, usize)> {
        let mut counts = HashMap::new();
        for &i in &self.executed {
            *counts.entry(self.lines[i][0].split_whitespace().next().unwrap_or_default()).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        counts.sort_by_key(|(name, n)| (usize::MAX - n, name.clone()));
        counts
    }
}

/// Fails with the package's name where a tool is missing.
pub(crate) fn need(tool: &str, package: &str) -> Result<(), String> {
    if works(&format!("{tool} --version")) { Ok(()) } else { Err(format!("{tool} does not run; Debian has it in the package {package}")) }
}

/// Builds the plugin and the program of kernels.
///
/// # Errors
/// If a tool is missing, or a build fails.
pub(crate) fn build() -> Result<(), String> {
    need("qemu-aarch64", "qemu-user")?;
    mca::need()?;
    let version = quiet_output(&mut command("qemu-aarch64 --version"))?;
    let major: Option<u32> = version.split("version ").nth(1).and_then(|v| v.split('.').next()?.parse().ok());
    let api = match major {
        Some(..=8) => "1",
        Some(9..) => "2",
        None => return Err(format!("qemu-aarch64 --version: expected `version N`, got {version:?}")),
    };
    run_quietly(command("cargo build --release --quiet -p tcg-trace").env("KINGLET_QEMU_PLUGIN_API", api))?;
    run_quietly(&mut command(&format!("cargo build --release --quiet -p kinglet-benches --bin arm_kernels --target {TARGET}")))
}

/// Runs `program`, which has markers, and prints `multiply-adds N` or `values N`, under QEMU.
///
/// # Errors
/// If it fails, prints something else, or executes what LLVM does not know.
pub(crate) fn record(program: &str, args: &[&str]) -> Result<Trace, String> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let out = root().join(format!("target/tcg-trace-{}-{run}", std::process::id()));
    let plugin = format!("target/release/libtcg_trace.so,out={}", out.display());
    let mut qemu = command("qemu-aarch64 -cpu max -plugin");
    let said = quiet_output(qemu.arg(plugin).arg(program).args(args))?;
    let bytes = std::fs::read(&out).map_err(|e| format!("{program} {args:?} left no trace, {}: {e}", out.display()))?;
    std::fs::remove_file(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let (records, _) = bytes.as_chunks::<8>();
    // The same word at two places is the same instruction here: mca knows no addresses.
    let words = records.iter().map(|record| u64::from_le_bytes(*record) as u32);
    let mut index = HashMap::new();
    let executed = words
        .map(|word| {
            let next = index.len();
            *index.entry(word).or_insert(next)
        })
        .collect();
    let mut distinct = vec![0; index.len()];
    index.into_iter().for_each(|(word, at)| distinct[at] = word);
    let number = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    let work =
        number("multiply-adds").or_else(|| number("values")).ok_or_else(|| format!("{program} {args:?} printed no work:\n{said}"))?;
    Ok(Trace {
        lines: disassemble(&distinct)?,
        executed,
        work,
        terms: number("terms").unwrap_or(1.0),
        bytes: number("bytes").unwrap_or(0.0),
    })
}

/// Each word as assembly, and as assembly for `llvm-mca`.
fn disassemble(words: &[u32]) -> Result<Vec<[String; 2]>, String> {
    let hex: String = words.iter().map(|word| word.to_le_bytes().map(|b| format!("{b:#04x} ")).concat() + "\n").collect();
    let mut mc = Command::new(format!("llvm-mc-{LLVM}"));
    let (text, err) = feed(mc.args(["--disassemble", "-triple=aarch64", "-mattr=+all"]), &hex)?;
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('.'))
        .map(|line| [line.to_owned(), straight(line)])
        .collect();
    if lines.len() != words.len() {
        return Err(format!("llvm-mc disassembled {} of {} instructions:\n{err}", lines.len(), words.len()));
    }
    Ok(lines)
}

/// An instruction as a straight line of code has it:
///
/// - Calls, returns and jumps through registers are plain branches: their targets are predicted, and mca would stop at a call.
/// - A load or store that moves its address register is an access and an addition, as Arm's optimisation guides have
///   it. Some of LLVM's models would give the register back only when the data arrive.
fn straight(line: &str) -> String {
    let (name, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match name {
        "bl" | "blr" | "br" | "ret" => return "b #4\n".to_owned(),
        _ => {}
    }
    let access = name.starts_with("ld") || name.starts_with("st");
    // The last bracket: those before it choose a lane.
    let Some((registers, address)) = operands.rsplit_once('[').filter(|_| access) else { return format!("{name} {operands}\n") };
    if let Some(inside) = address.strip_suffix("]!") {
        // [x0, #16]!
        let (base, offset) = inside.split_once(", ").unwrap_or((inside, "#0"));
        return format!("{}\n{name} {registers}[{base}]\n", add(base, offset));
    }
    if let Some((base, offset)) = address.split_once("], ") {
        // [x0], #16 or [x0], x2
        return format!("{name} {registers}[{base}]\n{}\n", add(base, offset));
    }
    format!("{name} {operands}\n")
}

fn add(base: &str, offset: &str) -> String {
    match offset.strip_prefix("#-") {
        Some(less) => format!("sub {base}, {base}, #{less}"),
        None => format!("add {base}, {base}, {offset}"),
    }
}

#[cfg(test)]
mod tests {
    use super::straight;

    #[test]
    fn moved_addresses_are_additions() {
        for (line, expected) in [
            ("ldr\tq0, [x1], #16", "ldr q0, [x1]\nadd x1, x1, #16\n"),
            ("ldp\tx29, x30, [sp], #-32", "ldp x29, x30, [sp]\nsub sp, sp, #32\n"),
            ("stp\tx29, x30, [sp, #-96]!", "sub sp, sp, #96\nstp x29, x30, [sp]\n"),
            ("ld1\t{ v0.16b, v1.16b }, [x2], x3", "ld1 { v0.16b, v1.16b }, [x2]\nadd x2, x2, x3\n"),
            ("ldr\tq0, [x1, #16]", "ldr q0, [x1, #16]\n"),
            ("sdot\tv0.4s, v1.16b, v2.4b[1]", "sdot v0.4s, v1.16b, v2.4b[1]\n"),
            ("ld1\t{ v0.s }[1], [x2]", "ld1 { v0.s }[1], [x2]\n"),
            ("ld1\t{ v0.s }[1], [x2], #4", "ld1 { v0.s }[1], [x2]\nadd x2, x2, #4\n"),
            ("mov\tv0.s[1], w2", "mov v0.s[1], w2\n"),
            ("ret", "b #4\n"),
            ("bl\t#-1780", "b #4\n"),
            ("nop", "nop \n"),
        ] {
            assert_eq!(straight(line), expected, "{line}");
        }
    }
}
