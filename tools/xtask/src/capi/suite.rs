//! The gate `ctests`: programs in C and C++ that make every call of the library, by themselves and under what looks at them; a text
//! that goes on on another machine; the examples.
//!
//! What the logits must hash to, and which instruction sets must run, are asked of the self-test of `kinglet`, which knows both from elsewhere.

use super::check::Place;
use super::examples;
use super::library::{self, Flavour, TARGETS, Target};
use super::{compilers, header, install, package};
use crate::ci::{self, Ran};
use crate::shell::{capture, command, command_in, in_parallel, quiet_output, run_quietly};
use crate::toolchain::{Tools, canonical_root, host};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Sources of the program that makes every call; with it go programs of one source.
const SUITE: [&str; 14] = [
    "suite",
    "check",
    "library",
    "models",
    "damage",
    "sessions",
    "states",
    "callbacks",
    "texts",
    "chats",
    "samplers",
    "generation",
    "threads",
    "logits",
];

/// Targets whose programs run, on this machine or under QEMU, and those of the boards that QEMU has.
const NEEDED: [&str; 5] = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
];

/// Lines of runtime/capi/src that the suite must run, in hundredths.
const COVERED: f64 = 95.0;

/// What the steps share.
pub(crate) struct Bench {
    pub(crate) place: Place,
    /// Where everything is made.
    pub(crate) folder: PathBuf,
    /// As the suite takes them: q4=HASH, q8=HASH.
    hashes: [String; 2],
    /// Instruction sets of this machine.
    isas: Vec<String>,
}

/// A step: its name and what it does; it tells in a line what it held.
pub(crate) type Step = (&'static str, fn(&Bench) -> Result<String, String>);

const STEPS: [Step; 9] = [
    ("calls", calls),
    ("models", models),
    ("packages", packages),
    ("suite", plain),
    ("sanitizers", sanitizers),
    ("valgrind", valgrind),
    ("coverage", coverage),
    ("aarch64", aarch64),
    ("continue", go_on),
];

/// The gate.
pub(crate) fn gate(ran: &mut Ran) -> Result<(), String> {
    let place = Place { root: canonical_root()? };
    if host(&place.root)? != NEEDED[0] {
        return Err(format!("this gate runs on {} alone", NEEDED[0]));
    }
    run_quietly(&mut command("cargo build --release --quiet --bin kinglet --bin quantize"))?;
    let selftest = quiet_output(&mut command("target/release/kinglet selftest"))?;
    let isas: Vec<String> = ci::instruction_sets_here().into_iter().filter(|isa| ci::passed(&selftest, isa)).map(str::to_owned).collect();
    let hashes = [hash(&selftest, "q4")?, hash(&selftest, "q8")?];
    let folder = place.root.join("target/ctests");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let bench = Bench { place, folder, hashes, isas };
    for (name, step) in STEPS.into_iter().chain(examples::STEPS) {
        let started = std::time::Instant::now();
        let held = step(&bench).map_err(|e| format!("{name}: {e}"))?;
        println!("{name}: {held} ({} s)", started.elapsed().as_secs());
    }
    ran.add(format!("C and C++ on {}, and with libraries for AArch64, Cortex-M4 and M33 (QEMU)", bench.isas.join(", ")));
    Ok(())
}

/// The logits of the tiny model at one type, by the self-test, which compares them with the golden ones: `q4=0123456789abcdef`.
fn hash(selftest: &str, dtype: &str) -> Result<String, String> {
    let end = format!(" of the tiny model at {dtype}");
    let found = selftest.lines().filter(|line| line.starts_with("ok")).find_map(|line| {
        let (before, _) = line.split_once(&end).or_else(|| line.split_once(&format!("{end},")))?;
        before.split_once(": logits ").map(|(_, hash)| hash)
    });
    let hash = found.filter(|hash| hash.len() == 16).ok_or_else(|| format!("the self-test tells no logits at {dtype}:\n{selftest}"))?;
    Ok(format!("{dtype}={hash}"))
}

impl Bench {
    fn target(triple: &str) -> Result<&'static Target, String> {
        TARGETS.iter().find(|target| target.triple == triple).ok_or_else(|| format!("there is no target {triple}"))
    }

    /// Where the package of a target is installed.
    pub(crate) fn prefix(&self, triple: &str) -> Result<PathBuf, String> {
        Ok(self.place.prefix(Self::target(triple)?))
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.folder.join("models")
    }

    pub(crate) fn model(&self, name: &str) -> String {
        self.models().join(name).with_extension("kgl").display().to_string()
    }

    /// The best instruction set of this machine.
    fn best(&self) -> &str {
        self.isas.last().map_or("scalar", String::as_str)
    }

    /// Compiles sources of tests/capi into a program.
    fn compile(&self, compiler: &str, sources: &[&str], flags: &str, name: &str) -> Result<PathBuf, String> {
        let is_cpp = sources.iter().all(|source| source.ends_with(".cpp"));
        let program = self.folder.join(name);
        let mut cc = command_in(&self.place.root.join("tests/capi"), compiler);
        cc.arg(if is_cpp { "-std=c++17" } else { "-std=c99" }).args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-g", "-O1"]);
        let named = |source: &&str| if is_cpp { (*source).to_owned() } else { format!("{source}.c") };
        cc.args(sources.iter().map(named)).args(flags.split_whitespace()).arg("-lm").arg("-o").arg(&program);
        capture(&mut cc)?.success()?;
        Ok(program)
    }

    /// Runs the suite behind some words, with more of its options; returns its last line.
    fn suite(&self, runner: &str, program: &Path, options: &[&str], isas: &[&str]) -> Result<String, String> {
        let mut line = command_in(&self.place.root, &format!("{runner} {}", program.display()));
        line.arg(self.models()).args(&self.hashes).args(options);
        // A sanitizer must not end a program for asking for more memory than there is.
        line.env("ASAN_OPTIONS", "allocator_may_return_null=1:detect_stack_use_after_return=1");
        let text = capture(&mut line)?.success()?;
        for dtype in ["q4", "q8"] {
            let found = ran_on(&text, dtype);
            if found != isas {
                return Err(format!(
                    "{}: logits at {dtype} were to be compared on {isas:?}, and were on {found:?}:\n{text}",
                    program.display()
                ));
            }
        }
        last_line(&text, "suite: ")
    }

    /// The same for this machine.
    fn suite_here(&self, program: &Path, options: &[&str]) -> Result<String, String> {
        self.suite("", program, options, &self.isas.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn wrapper(&self, runner: &str, program: &Path) -> Result<String, String> {
        let mut line = command_in(&self.place.root, &format!("{runner} {}", program.display()));
        last_line(&capture(line.arg(self.models()).arg(&self.hashes[0]))?.success()?, "wrapper: ")
    }
}

/// The instruction sets on which the suite says that it compared logits of a type.
fn ran_on<'t>(text: &'t str, dtype: &str) -> Vec<&'t str> {
    let of = format!(" of tiny-{dtype} on ");
    text.lines().filter(|line| line.starts_with("logits ")).filter_map(|line| line.split_once(&of)?.1.split(',').next()).collect()
}

/// The sum that a program prints at its end, which must be one without a failure.
fn last_line(text: &str, start: &str) -> Result<String, String> {
    let line = text.lines().last().filter(|line| line.starts_with(start) && line.contains(" 0 failed"));
    line.map(|line| line[start.len()..].to_owned()).ok_or_else(|| format!("expected a sum of checks, got\n{text}"))
}

/// Each function of the header is called by a test.
fn calls(bench: &Bench) -> Result<String, String> {
    let folder = bench.place.root.join("tests/capi");
    let mut text = String::new();
    for source in SUITE.iter().map(|name| format!("{name}.c")).chain([String::from("core.c"), String::from("continue.c")]) {
        text += &std::fs::read_to_string(folder.join(&source)).map_err(|e| format!("{source}: {e}"))?;
    }
    let functions = header::functions(&header::read(&bench.place.root)?);
    let missing: Vec<&str> = functions.iter().map(String::as_str).filter(|name| !text.contains(&format!("{name}("))).collect();
    match missing[..] {
        [] => Ok(format!("{} functions, each of them called", functions.len())),
        _ => Err(format!("nothing in tests/capi calls {}", missing.join(", "))),
    }
}

/// A chat format in which two take turns, and a text that no other format has ends a reply.
const STRICT: &str = "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ '[' + message['content'] + ']' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% else %}{{ raise_exception('Only two speak') }}{% endif %}{% endfor %}";

/// Converts the model files that the programs want: their names, checkpoints, what is changed of those, and options.
fn models(bench: &Bench) -> Result<String, String> {
    #[derive(Clone, Copy)]
    enum Chat {
        AsItIs,
        Instead(Option<&'static str>),
    }
    const MODELS: [(&str, &str, Chat, &[&str]); 8] = [
        ("tiny-q4", "tests/models/tiny", Chat::AsItIs, &["--type", "q4"]),
        ("tiny-q8", "tests/models/tiny", Chat::AsItIs, &["--type", "q8"]),
        ("window", "tests/golden/mistral-window", Chat::AsItIs, &[]),
        ("positions", "tests/golden/gpt2-bare", Chat::AsItIs, &[]),
        ("padded", "tests/golden/qwen2-tied", Chat::AsItIs, &[]),
        ("bare", "tests/golden/llama-plain", Chat::AsItIs, &["--no-tokenizer"]),
        ("strict", "tests/golden/llama-plain", Chat::Instead(Some(STRICT)), &[]),
        ("plain", "tests/golden/mistral-window", Chat::Instead(None), &[]),
    ];
    let root = &bench.place.root;
    std::fs::create_dir_all(bench.models()).map_err(|e| e.to_string())?;
    for (name, checkpoint, chat, options) in MODELS {
        let mut from = root.join(checkpoint);
        if let Chat::Instead(template) = chat {
            from = with_template(&from, &bench.folder.join("checkpoints").join(name), template)?;
        }
        let mut quantize = command("target/release/quantize --force");
        capture(quantize.args(options).arg(&from).arg(bench.model(name)))?.success()?;
    }
    let random = "tests/models/random.kgl";
    std::fs::copy(root.join(random), bench.model("random")).map_err(|e| format!("{random}: {e}"))?;
    Ok(format!("{} files", MODELS.len() + 1))
}

/// A copy of a checkpoint with another chat template, or none.
fn with_template(from: &Path, to: &Path, template: Option<&str>) -> Result<PathBuf, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", to.display());
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed)?;
    }
    let path = to.join("tokenizer_config.json");
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).map_err(failed)?).map_err(|e| format!("{}: {e}", path.display()))?;
    let fields = config.as_object_mut().ok_or("tokenizer_config.json is no object")?;
    match template {
        Some(template) => fields.insert(String::from("chat_template"), Value::from(template)),
        None => fields.remove("chat_template"),
    };
    std::fs::write(&path, config.to_string()).map_err(failed)?;
    Ok(to.to_owned())
}

/// Builds and installs the packages that are linked with here; they are those of the gate `capi`.
fn packages(bench: &Bench) -> Result<String, String> {
    let targets: Vec<&Target> = NEEDED.iter().map(|triple| Bench::target(triple)).collect::<Result<_, _>>()?;
    library::build(&bench.place.root, &targets)?;
    for target in &targets {
        install::install(&bench.place.root, target, &bench.place.prefix(target))?;
    }
    Ok(format!("{} targets", targets.len()))
}

/// What is put behind the sources to link with a package.
fn flags(bench: &Bench, triple: &str, flavour: Flavour) -> Result<String, String> {
    let target = Bench::target(triple)?;
    Ok(package::flags(target, flavour, &bench.place.prefix(target).display().to_string()))
}

/// The suite, the wrapper and the core as they are, by two compilers.
fn plain(bench: &Bench) -> Result<String, String> {
    let clang = compilers::clang();
    let (std, core) = (flags(bench, NEEDED[0], Flavour::Std)?, flags(bench, NEEDED[0], Flavour::Core)?);
    let held = in_parallel(&[("gcc", "g++"), (&clang, &clang.replace("clang", "clang++"))], |(c, cpp)| {
        let suite = bench.suite_here(&bench.compile(c, &SUITE, &std, &format!("suite-{c}"))?, &[])?;
        let wrapper = bench.wrapper("", &bench.compile(cpp, &["wrapper.cpp"], &std, &format!("wrapper-{c}"))?)?;
        let program = bench.compile(c, &["core", "check"], &core, &format!("core-{c}"))?;
        let mut line = command_in(&bench.folder, &program.display().to_string());
        let hash = bench.hashes[0].trim_start_matches("q4=");
        let core = last_line(&capture(line.arg(bench.model("tiny-q4")).arg(hash).arg(bench.best()))?.success()?, "core: ")?;
        Ok(format!("{c}: {suite}; C++: {wrapper}; without std: {core}"))
    })?;
    Ok(held.join(" | "))
}

/// What is put behind the sources to link with a library that is not shipped.
fn link(bench: &Bench, archive: &str) -> String {
    let root = bench.place.root.display();
    format!("-I{root}/runtime/capi/include {root}/target/{archive} -lpthread -ldl")
}

/// Both sides of every call with an eye on memory, the C side also on what C leaves undefined.
fn sanitizers(bench: &Bench) -> Result<String, String> {
    let line =
        format!("cargo +nightly rustc --quiet --locked -p kinglet-capi --lib --crate-type staticlib --release --target {}", NEEDED[0]);
    let mut cargo = command_in(&bench.place.root, &line);
    // Faster to make than what is shipped.
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "8").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-Zsanitizer=address").arg("--target-dir").arg(bench.folder.join("asan"));
    capture(&mut cargo)?.success()?;
    let library = link(bench, &format!("ctests/asan/{}/release/libkinglet_capi.a", NEEDED[0]));
    let flags = format!("-fsanitize=address,undefined -fno-sanitize-recover=all {library}");
    let suite = bench.suite_here(&bench.compile("gcc", &SUITE, &flags, "suite-asan")?, &["limits=0"])?;
    let wrapper = bench.wrapper("", &bench.compile("g++", &["wrapper.cpp"], &flags, "wrapper-asan")?)?;
    Ok(format!("{suite}; C++: {wrapper}"))
}

/// Valgrind is slow, so it gets every fiftieth damaged file; it tells programs that there is no AVX-512, so they run without.
fn valgrind(bench: &Bench) -> Result<String, String> {
    const RUNNER: &str = "valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=all";
    let c = bench.folder.join("suite-gcc");
    let isas: Vec<&str> = bench.isas.iter().map(String::as_str).filter(|isa| ["scalar", "avx2"].contains(isa)).collect();
    let suite = bench.suite(RUNNER, &c, &["limits=0", "stride=50"], &isas)?;
    let wrapper = bench.wrapper(RUNNER, &bench.folder.join("wrapper-gcc"))?;
    Ok(format!("{suite}; C++: {wrapper}"))
}

/// Lines of the library's calls that the suite runs.
fn coverage(bench: &Bench) -> Result<String, String> {
    // The calls alone are counted, and what they call is as always.
    let line = "cargo rustc --quiet --locked -p kinglet-capi --lib --crate-type staticlib --release -- -Cinstrument-coverage";
    capture(&mut command_in(&bench.place.root, line))?.success()?;
    // Nothing names what writes the counts.
    let flags = format!("-Wl,-u,__llvm_profile_runtime {}", link(bench, "release/libkinglet_capi.a"));
    let program = bench.compile("gcc", &SUITE, &flags, "suite-coverage")?;
    let (raw, data) = (bench.folder.join("suite.profraw"), bench.folder.join("suite.profdata"));
    let mut line = command_in(&bench.place.root, &program.display().to_string());
    line.arg(bench.models()).args(&bench.hashes).env("LLVM_PROFILE_FILE", &raw);
    capture(&mut line)?.success()?;
    let tools = Tools::new(&bench.place.root)?;
    run_quietly(tools.command("llvm-profdata").args(["merge", "-sparse"]).arg(&raw).arg("-o").arg(&data))?;
    let mut export = tools.command("llvm-cov");
    export.args(["export", "--summary-only"]).arg(&program).arg(format!("-instr-profile={}", data.display()));
    let export: Value = serde_json::from_str(&quiet_output(&mut export)?).map_err(|e| format!("llvm-cov: {e}"))?;
    let (covered, count) = lines(&export).ok_or("llvm-cov tells of no file in runtime/capi/src")?;
    let percent = 100.0 * covered as f64 / count as f64;
    if percent < COVERED {
        return Err(format!("{covered} of {count} lines of runtime/capi/src, {percent:.1} %, expected {COVERED} % at least"));
    }
    Ok(format!("{covered} of {count} lines of runtime/capi/src, {percent:.1} %"))
}

/// Lines that ran and lines that there are, in files of the library's crate.
fn lines(export: &Value) -> Option<(u64, u64)> {
    let files = export["data"][0]["files"].as_array()?;
    let ours = files.iter().filter(|file| file["filename"].as_str().is_some_and(|name| name.contains("runtime/capi/src/")));
    let lines: Vec<&Value> = ours.map(|file| &file["summary"]["lines"]).collect();
    let sum = |key: &str| lines.iter().map(|lines| lines[key].as_u64()).sum::<Option<u64>>();
    Some((sum("covered")?, sum("count").filter(|count| *count > 0)?))
}

/// A program for AArch64: its target, whether it is static, the CPU under which it runs, and the instruction sets that this has.
const EMULATED: [(&str, bool, &str, &[&str]); 3] = [
    ("aarch64-unknown-linux-gnu", false, "max", &["scalar", "neon", "dotprod", "i8mm"]),
    ("aarch64-unknown-linux-musl", true, "max", &["scalar", "neon", "dotprod", "i8mm"]),
    ("aarch64-unknown-linux-musl", true, "cortex-a53", &["scalar", "neon"]),
];

/// Compiles for AArch64; returns the program and what it runs under.
fn cross(bench: &Bench, triple: &str, is_static: bool, cpu: &str, sources: &[&str], name: &str) -> Result<(PathBuf, String), String> {
    let (compiler, runner) = compilers::for_target(triple, is_static);
    let is_cpp = sources.iter().all(|source| source.ends_with(".cpp"));
    let compiler = if is_cpp { compiler.replace("gcc", "g++") } else { compiler };
    let flags = flags(bench, triple, Flavour::Std)?;
    let flags = if is_static { format!("-static {flags}") } else { flags };
    let program = bench.compile(&compiler, sources, &flags, &format!("{name}-{triple}"))?;
    Ok((program, runner.replacen("qemu-aarch64", &format!("qemu-aarch64 -cpu {cpu}"), 1)))
}

/// The suite on AArch64, with every hundredth damaged file; where one CPU runs two programs, the second one's logits.
fn aarch64(bench: &Bench) -> Result<String, String> {
    let mut runs = Vec::new();
    for (triple, is_static, cpu, isas) in EMULATED {
        let (program, runner) = cross(bench, triple, is_static, cpu, &SUITE, "suite")?;
        let options: &[&str] = if is_static && cpu == "max" { &["only=logits"] } else { &["limits=0", "stride=100"] };
        runs.push((program, runner, options, isas));
    }
    let held = in_parallel(&runs, |(program, runner, options, isas)| bench.suite(runner, program, options, isas))?;
    let held = held.iter().zip(EMULATED).map(|(held, (triple, _, cpu, _))| format!("{triple} on {cpu}: {held}"));
    let (program, runner) = cross(bench, EMULATED[0].0, false, "max", &["wrapper.cpp"], "wrapper")?;
    Ok(held.chain([format!("C++: {}", bench.wrapper(&runner, &program)?)]).collect::<Vec<_>>().join(" | "))
}

/// A text that is saved half way and goes on elsewhere has the same tokens as one that was never interrupted.
fn go_on(bench: &Bench) -> Result<String, String> {
    let here = bench.compile("gcc", &["continue"], &flags(bench, NEEDED[0], Flavour::Std)?, "continue")?;
    let (there, runner) = cross(bench, NEEDED[2], true, "max", &["continue"], "continue")?;
    let small = runner.replace("-cpu max", "-cpu cortex-a53");
    let here = here.display().to_string();
    let [large, small] = [runner, small].map(|runner| format!("{runner} {}", there.display()));
    let model = bench.model("tiny-q4");
    let run = |program: &str, mode: &str, isa: &str, state: &str| {
        let mut line = command_in(&bench.folder, program);
        line.args([mode, &model, isa]).args((mode != "whole").then_some(state));
        let text = capture(&mut line)?.success()?;
        Ok::<_, String>(text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let whole = run(&here, "whole", bench.best(), "")?;
    if whole.len() != 80 {
        return Err(format!("expected 80 tokens, got {whole:?}"));
    }
    let best = bench.best();
    let ways = [
        (&here, "scalar", &here, best),
        (&here, best, &large, "i8mm"),
        (&here, best, &small, "neon"),
        (&large, "dotprod", &here, best),
        (&small, "scalar", &here, best),
    ];
    for (from, isa, to, other) in ways {
        let state = bench.folder.join(format!("{isa}-{other}.state")).display().to_string();
        let both = [run(from, "save", isa, &state)?, run(to, "restore", other, &state)?].concat();
        if both != whole {
            return Err(format!("saved on {isa}, restored on {other}: expected the tokens {whole:?}, got {both:?}"));
        }
    }
    let ways = ways.map(|(_, isa, _, other)| format!("{isa} to {other}"));
    Ok(format!("{} tokens, saved half way and gone on with, {}", whole.len(), ways.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_test_tells_hashes() {
        let text = "ok     avx2: logits 14a06c39e3b3309f of the tiny model at q4, 1 to 4 threads\nFAILED avx2: logits ae9e8798fe0814e8 of the tiny model at q8, 1\n";
        assert_eq!(hash(text, "q4").as_deref(), Ok("q4=14a06c39e3b3309f"));
        assert!(hash(text, "q8").is_err());
    }

    #[test]
    fn sums_are_read() {
        let text = "logits 1 of tiny-q4 on scalar, 2 ways\nlogits 1 of tiny-q4 on avx2, 4 ways\nlogits 2 of tiny-q8 on avx2, 4 ways\nsuite: 9 checks, 0 failed\n";
        assert_eq!(ran_on(text, "q4"), ["scalar", "avx2"]);
        assert_eq!(ran_on(text, "q8"), ["avx2"]);
        assert_eq!(last_line(text, "suite: ").as_deref(), Ok("9 checks, 0 failed"));
        for wrong in ["", "suite: 9 checks, 10 failed", "suite: 9 checks, 0 failed\nmore"] {
            assert!(last_line(wrong, "suite: ").is_err(), "{wrong}");
        }
    }

    #[test]
    fn coverage_is_of_the_library_alone() {
        let file =
            |name: &str, covered: u64| serde_json::json!({"filename": name, "summary": {"lines": {"covered": covered, "count": 10}}});
        let export = serde_json::json!({"data": [{"files": [file("/x/runtime/capi/src/log.rs", 9), file("/x/runtime/src/log.rs", 1)]}]});
        assert_eq!(lines(&export), Some((9, 10)));
        assert_eq!(lines(&serde_json::json!({"data": [{"files": []}]})), None);
    }
}
