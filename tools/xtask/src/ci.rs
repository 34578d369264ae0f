//! The gates of CI.

use crate::arm::{self, LLVM};
use crate::capi;
use crate::emulate;
use crate::shell::{command, output, quiet_output, root, run, works};
use std::path::Path;

/// A gate: its name, what it holds, and how.
pub(crate) struct Gate {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Ran) -> Result<(), String>,
}

/// What ran where, for the last line.
#[derive(Default)]
pub(crate) struct Ran {
    places: Vec<String>,
}

impl Ran {
    pub(crate) fn add(&mut self, place: String) {
        self.places.push(place);
    }
}

/// Every gate, cheap ones first.
pub(crate) const GATES: &[Gate] = &[
    Gate { name: "setup", about: "install what the gates need: targets, compilers, QEMU, LLVM's tools, miri, cargo-fuzz", run: setup },
    Gate { name: "lint", about: "rustfmt, clippy and rustdoc without warnings", run: lint },
    Gate { name: "test", about: "cargo test --release", run: test },
    Gate { name: "features", about: "each feature set alone, and bare-metal targets without an allocator", run: features },
    Gate { name: "dist", about: "the static archives, whose bytes are the same from another folder", run: dist },
    Gate {
        name: "capi",
        about: "the C library: its header, its symbols, its size, and that C programs link with it",
        run: |_| capi::gate(),
    },
    Gate {
        name: "ctests",
        about: "the C library from C and C++: every call, also under sanitizers, valgrind and QEMU; lines covered; the examples",
        run: capi::tests,
    },
    Gate {
        name: "isa",
        about: "kernel contract and golden logits, here and under QEMU: x86-64 without AVX2, Cortex-A53, A72, A76, one with all; \
                no intrinsic out of line",
        run: isa,
    },
    Gate { name: "qemu", about: "the suites on the same four AArch64 CPUs under QEMU", run: emulate::suites },
    Gate {
        name: "cycles",
        about: "cargo xtask arm-cycles --smoke: instructions of a product on AArch64, counted under QEMU and played by llvm-mca",
        run: |_| arm::smoke(),
    },
    Gate { name: "miri", about: "the rooms that cast and share memory, under miri", run: miri },
    Gate { name: "fuzz", about: "the fuzz targets, 60 s in all, from the committed corpus", run: fuzz },
];

/// Targets that the runtime's core is built for, without std.
const BARE: &[&str] =
    &["thumbv6m-none-eabi", "thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf", "riscv32imac-unknown-none-elf", "aarch64-unknown-none"];
const X86_STATIC: &str = "x86_64-unknown-linux-musl";
const FUZZ_TARGETS: &[&str] = &["container", "tokenizer", "calls"];
const FUZZ_SECONDS: usize = 60;

/// Every gate; the first that fails ends it.
pub(crate) fn all() -> Result<(), String> {
    let start = std::time::Instant::now();
    let mut ran = Ran::default();
    for gate in GATES {
        let started = start.elapsed().as_secs();
        eprintln!("\n== {}: {}", gate.name, gate.about);
        (gate.run)(&mut ran).map_err(|e| format!("gate {} failed: {e}", gate.name))?;
        eprintln!("== {} passed in {} s", gate.name, start.elapsed().as_secs() - started);
    }
    println!(
        "ci passed: {} gates of {}, none skipped, in {} s; ran on {}",
        GATES.len(),
        GATES.len(),
        start.elapsed().as_secs(),
        ran.places.join("; ")
    );
    Ok(())
}

fn setup(_: &mut Ran) -> Result<(), String> {
    let of_the_library = capi::TARGETS.iter().map(|target| &target.triple);
    for target in BARE.iter().chain([&emulate::TARGET, &X86_STATIC]).chain(of_the_library) {
        run(&mut command(&format!("rustup target add {target}")))?;
    }
    run(&mut command("rustup component add llvm-tools"))?;
    run(&mut command("rustup toolchain install nightly --profile minimal --no-self-update"))
        .or_else(|e| if works("cargo +nightly --version") { Ok(()) } else { Err(e) })?;
    run(&mut command("rustup component add --toolchain nightly miri rust-src"))?;
    packages()?;
    if !works("cargo fuzz --version") {
        run(&mut command("cargo install --locked --quiet cargo-fuzz"))?;
    }
    Ok(())
}

/// Installs Debian's packages that gates need, each if what tells that it is there fails.
fn packages() -> Result<(), String> {
    let (clang, mca) = (format!("clang-{LLVM}"), format!("llvm-mca-{LLVM}"));
    let programs = [
        ("qemu-aarch64", "qemu-user"),
        ("qemu-x86_64", "qemu-user"),
        (&mca, &format!("llvm-{LLVM}")),
        (&clang, &clang),
        ("gcc", "gcc"),
        ("g++", "g++"),
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
        ("musl-gcc", "musl-tools"),
        ("cmake", "cmake"),
        ("pkg-config", "pkg-config"),
        ("valgrind", "valgrind"),
        ("qemu-system-arm", "qemu-system-arm"),
    ];
    let is_missing = |(program, _): &&(&str, &str)| !works(&format!("{program} --version"));
    let mut missing: Vec<&str> = programs.iter().filter(is_missing).map(|(_, package)| *package).collect();
    // The C library itself, for another machine than this one, has no program to ask.
    if !Path::new(capi::AARCH64_MUSL_SPECS).exists() {
        run(&mut command("dpkg --add-architecture arm64"))?;
        missing.push("musl-dev:arm64");
    }
    if missing.is_empty() {
        return Ok(());
    }
    run(command("apt-get update -qq").env("DEBIAN_FRONTEND", "noninteractive"))?;
    run(command("apt-get install -y -qq --no-install-recommends").args(missing).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn lint(_: &mut Ran) -> Result<(), String> {
    run(&mut command("cargo fmt --all --check"))?;
    run(&mut command("cargo clippy --workspace --all-targets --all-features --quiet -- -D warnings"))?;
    run(command("cargo doc --workspace --no-deps --all-features --quiet").env("RUSTDOCFLAGS", "-D warnings"))
}

fn test(_: &mut Ran) -> Result<(), String> {
    run(&mut command("cargo test --release"))
}

fn features(_: &mut Ran) -> Result<(), String> {
    for line in
        ["cargo check --quiet -p kinglet", "cargo check --quiet -p kinglet-quant", "cargo check --quiet -p kinglet-quant --features std"]
    {
        run(&mut command(line))?;
    }
    for target in BARE {
        run(&mut command(&format!("cargo check --quiet -p kinglet --no-default-features --target {target}")))?;
    }
    Ok(())
}

fn dist(_: &mut Ran) -> Result<(), String> {
    crate::dist::gate()
}

/// The self-test compares every kernel with scalar and the tiny model's logits with golden hashes.
fn isa(ran: &mut Ran) -> Result<(), String> {
    run(&mut command("cargo build --release --quiet --bin kinglet --bin quantize"))?;
    let symbols = quiet_output(&mut command("nm -C target/release/kinglet"))?;
    if let Some(left) = intrinsics_left_out_of_line(&symbols).next() {
        return Err(format!("`{left}` is a function in target/release/kinglet: some kernel calls it instead of containing it"));
    }
    let native = "target/release/kinglet selftest";
    let [q4, q8] = emulate::tiny_models()?;
    let expected = instruction_sets_here();
    for (place, line, expected) in [
        ("this machine", native, expected),
        ("QEMU, x86-64 without AVX2", &format!("qemu-x86_64 -cpu Nehalem target/release/kinglet selftest -m {q4} -m {q8}"), vec!["scalar"]),
    ] {
        if place.contains("x86-64") && std::env::consts::ARCH != "x86_64" {
            ran.add(format!("not on {place}, for this machine builds no such program"));
            continue;
        }
        let text = output(&mut command(line))?;
        let found: Vec<&str> = ISAS.iter().map(|(isa, _)| *isa).filter(|isa| passed(&text, isa)).collect();
        if found != expected {
            return Err(format!("{place}: expected the instruction sets {expected:?} to run, {found:?} did"));
        }
        ran.add(format!("{} ({place})", found.join(", ")));
    }
    emulate::shipped(ran)
}

/// Intrinsics that are functions of their own among the lines of `nm -C`. One that is called where it should be an
/// instruction costs a hundred times as much, and no test would see it.
pub(crate) fn intrinsics_left_out_of_line(symbols: &str) -> impl Iterator<Item = &str> {
    let names = symbols.lines().filter_map(|line| line.split_once(" core::core_arch::").map(|(_, name)| name));
    // The standard library's detection of the CPU calls these.
    names.filter(|name| !["_xgetbv", "__cpuid"].iter().any(|known| name.contains(known)))
}

/// The instruction sets that kernels exist for, as `kinglet selftest` names them, and the flags by which Linux tells that
/// an x86-64 machine has them.
const ISAS: [(&str, &[&str]); 4] = [
    ("scalar", &[]),
    ("avx2", &["avx2", "f16c"]),
    ("avxvnni", &["avx2", "f16c", "avx_vnni"]),
    ("avx512", &["avx2", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"]),
];

/// Those of this machine.
pub(crate) fn instruction_sets_here() -> Vec<&'static str> {
    instruction_sets(std::env::consts::ARCH, &std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

/// Those that a Linux machine of this architecture has by its own account, not by the account of what is tested.
fn instruction_sets(arch: &str, cpuinfo: &str) -> Vec<&'static str> {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let has = |flag: &&str| flags.split_whitespace().any(|word| word == *flag);
    let here = |(_, needs): &&(&str, &[&str])| needs.is_empty() || arch == "x86_64" && needs.iter().all(has);
    ISAS.iter().filter(here).map(|(name, _)| *name).collect()
}

/// Whether the self-test says that an instruction set gives the bits of scalar, and the golden logits of both types.
pub(crate) fn passed(selftest: &str, isa: &str) -> bool {
    let good: Vec<&str> = selftest.lines().filter_map(|line| line.strip_prefix("ok")).map(str::trim_start).collect();
    let lines = |start: String, end: &str| good.iter().filter(|line| line.starts_with(&start) && line.ends_with(end)).count();
    lines(format!("{isa}: "), " cases give the bits of scalar") == 1 && lines(format!("{isa}: logits "), "") == 2
}

fn miri(_: &mut Ran) -> Result<(), String> {
    // The searches of the quantisers take miri minutes; what they read and write is in these two.
    let quantise = "--test quantise -- layouts_decode zeros_are_stored";
    for line in [
        "-p kinglet-quant --test act",
        &format!("-p kinglet-quant --features std {quantise}"),
        "-p kinglet --lib -- arena:: format:: kv:: spec:: tensor:: workers::",
    ] {
        let text = output(command(&format!("cargo +nightly miri test {line}")).env("MIRIFLAGS", "-Zmiri-disable-isolation"))?;
        if !text.lines().any(|l| l.starts_with("test result: ok. ")) || text.contains("ok. 0 passed") {
            return Err(format!("`miri test {line}` ran no test:\n{text}"));
        }
    }
    Ok(())
}

fn fuzz(_: &mut Ran) -> Result<(), String> {
    let seconds = FUZZ_SECONDS / FUZZ_TARGETS.len();
    for target in FUZZ_TARGETS {
        // New inputs go to a scratch folder: the first one named is written, the committed corpus is only read.
        let scratch = root().join("target/fuzz-corpus").join(target);
        std::fs::create_dir_all(&scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
        run(command("cargo +nightly fuzz run --fuzz-dir tests/fuzz")
            .arg(target)
            .arg(&scratch)
            .arg(format!("tests/fuzz/corpus/{target}"))
            .arg("--")
            .arg(format!("-max_total_time={seconds}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a machine with every instruction set prints.
    fn selftest() -> String {
        let line = |rest: &'static str| ISAS.map(|(isa, _)| format!("ok     {isa}: {rest}\n")).concat();
        [
            "13 kernels in 1,000 cases give the bits of scalar",
            "logits 4604b181c0df32a7 of the tiny model at q4, 1 to 4 threads, batches [1, 7, 128]",
            "logits fefefd2c5a38a196 of the tiny model at q8, 1 to 4 threads, batches [1, 7, 128]",
        ]
        .map(line)
        .concat()
    }

    #[test]
    fn a_missing_instruction_set_is_seen() {
        let all = selftest();
        for (isa, _) in ISAS {
            assert!(passed(&all, isa));
            for line in all.lines().filter(|line| line.contains(&format!(" {isa}: "))) {
                assert!(!passed(&all.replace(line, ""), isa), "without `{line}`");
                assert!(!passed(&all.replace(line, &line.replace("ok    ", "FAILED")), isa), "with `{line}` failed");
            }
        }
    }

    #[test]
    fn an_intrinsic_out_of_line_is_seen() {
        let symbols = "0001 t core::core_arch::x86::xsave::_xgetbv\n0002 t kinglet::kernels::scalar::add\n";
        assert_eq!(intrinsics_left_out_of_line(symbols).next(), None);
        let more = format!("{symbols}0003 t core::core_arch::x86::avx512f::_mm512_mul_ps\n");
        assert_eq!(intrinsics_left_out_of_line(&more).collect::<Vec<_>>(), ["x86::avx512f::_mm512_mul_ps"]);
    }

    #[test]
    fn flags_are_whole_words() {
        let sets = |arch, flags: &str| instruction_sets(arch, &format!("processor\t: 0\nflags\t\t: fpu {flags} sse2\n"));
        assert_eq!(sets("x86_64", "avx2 f16c"), ["scalar", "avx2"]);
        assert_eq!(sets("x86_64", "avx2 f16c avx_vnni"), ["scalar", "avx2", "avxvnni"]);
        let server = "f16c avx2 avx512f avx512bw avx512dq avx512vl avx512_vnni";
        assert_eq!(sets("x86_64", server), ["scalar", "avx2", "avx512"]);
        for flags in ["", "avx2", "f16c", "avx avx2x f16c"] {
            assert_eq!(sets("x86_64", flags), ["scalar"], "{flags}");
        }
        assert_eq!(sets("aarch64", "avx2 f16c"), ["scalar"]);
        assert_eq!(instruction_sets("x86_64", ""), ["scalar"]);
    }
}
