//! The `kinglet` command from outside: what it prints where, and how it ends.

#[path = "common/runner.rs"]
mod runner;

use kinglet_quant::DType;
use kinglet_tools::checkpoint::Checkpoint;
use kinglet_tools::convert::{Calibration, Conversion, Options};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

fn tiny_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny")
}

/// The tiny model at a type, converted once.
fn tiny(dtype: DType) -> PathBuf {
    static FILES: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FILES.get_or_init(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let checkpoint = Checkpoint::open(&tiny_folder()).unwrap();
        for dtype in [DType::Q4, DType::Q8, DType::F32] {
            let options = Options { calibration: Calibration::Off, ..Options::of(dtype) };
            let conversion = Conversion::plan(&checkpoint, &options).unwrap();
            conversion.run(&folder.path().join(format!("{dtype}.kgl")), false, None, &()).unwrap();
        }
        folder
    });
    folder.path().join(format!("{dtype}.kgl"))
}

fn kinglet(args: &[&str]) -> Command {
    let mut command = runner::program(env!("CARGO_BIN_EXE_kinglet"));
    command.args(args).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    kinglet(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// stdout of a command that must succeed.
fn ok(args: &[&str]) -> String {
    let out = output(args);
    assert!(out.status.success(), "{args:?}: {:?}\n{}", out.status, text(&out.stderr));
    text(&out.stdout)
}

/// stderr of a command that must fail with this code, and print nothing on stdout.
fn fails(code: i32, args: &[&str]) -> String {
    let out = output(args);
    assert_eq!(out.status.code(), Some(code), "{args:?}\n{}{}", text(&out.stdout), text(&out.stderr));
    assert!(out.stdout.is_empty(), "{args:?} printed {}", text(&out.stdout));
    text(&out.stderr)
}

fn q4() -> String {
    tiny(DType::Q4).to_str().unwrap().to_owned()
}

#[test]
fn wrong_command_lines_exit_with_2_and_say_what_is_expected() {
    let q4 = q4();
    let cases: [(&[&str], &str); 13] = [
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["run"], "--model <FILE>"),
        (&["run", "-m"], "a value is required"),
        (&["run", "-m", &q4], "expected -p TEXT or -f FILE"),
        (&["run", "-m", &q4, "-p", "a", "-t", "0"], "expected 1 to 256 threads"),
        (&["run", "-m", &q4, "-p", "a", "--temp", "-1"], "expected a number of at least 0"),
        (&["run", "-m", &q4, "-p", "a", "--top-p", "1.5"], "expected a number from 0 to 1"),
        (&["run", "-m", &q4, "-p", "a", "--logit-bias", "x"], "15043+1"),
        (&["run", "-m", &q4, "-p", "a", "-n", "-3"], "-3"),
        (&["run", "-m", &q4, "-p", "a", "-ctk", "q4_0"], "possible values: i8, f32"),
        (&["run", "-m", &q4, "-p", "a", "--isa", "mmx"], "unknown instruction set"),
        (&["bench", "-m", &q4, "-p", "0", "-n", "0"], "expected -p or -n above 0"),
        (&["plan", &q4, "--type", "q8"], "a model file has its types"),
    ];
    for (args, expected) in cases {
        let stderr = fails(2, args);
        assert!(stderr.contains(expected), "{args:?}: expected {expected:?} in\n{stderr}");
    }
}

#[test]
fn wrong_files_exit_with_1_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let whole = std::fs::read(tiny(DType::Q4)).unwrap();
    let cases = [
        (at("gone.kgl", b"x") + ".not", "No such file"),
        (at("empty.kgl", b""), "empty"),
        (at("text.kgl", b"not a model, but long enough to look at its first bytes"), "not a .kgl file"),
        (at("cut.kgl", &whole[..whole.len() - 1]), &(whole.len() - 1).to_string()),
        (at("long.kgl", &[&whole[..], b"x"].concat()), &(whole.len() + 1).to_string()),
        (folder.path().to_str().unwrap().to_owned(), "folder"),
    ]
    .map(|(path, expected)| (path, expected.to_owned()));
    for (path, expected) in cases {
        for args in [
            vec!["run", "-m", &path, "-p", "a"],
            vec!["bench", "-m", &path],
            vec!["verify", &path],
            vec!["tokenize", "-m", &path, "-p", "a"],
        ] {
            let stderr = fails(1, &args);
            let plain = |s: &str| s.to_lowercase().replace(',', "");
            assert!(stderr.contains(&path) && plain(&stderr).contains(&plain(&expected)), "{args:?}: expected {expected:?} in\n{stderr}");
        }
    }
}

#[test]
fn stdout_has_the_continuation_and_nothing_else() {
    let (q4, prompt) = (q4(), "It was a fine morning");
    let args = ["run", "-m", &q4, "-p", prompt, "-n", "12", "--temp", "0"];
    let out = output(&args);
    assert!(out.status.success());
    let plain = text(&out.stdout);
    assert!(plain.len() > 12 && plain.ends_with('\n') && !plain.contains("tokens/s"), "{plain:?}");
    let stderr = text(&out.stderr);
    for figure in ["tokens/s", "prompt ", "output ", "memory ", "seed "] {
        assert!(stderr.contains(figure), "expected {figure:?} in\n{stderr}");
    }
    assert!(!stderr.contains('\u{1b}'), "no colours, no bars: {stderr:?}");
    assert_eq!(ok(&[&args[..], &["--echo"]].concat()), format!("{prompt}{plain}"));
}

#[test]
fn the_same_seed_gives_the_same_text_on_every_isa_thread_count_and_batch() {
    let q4 = q4();
    let base = ["run", "-m", &q4, "-p", "Miss Woodhouse, said he, ", "-n", "40", "-s", "7"];
    let first = ok(&base);
    for more in [["--isa", "scalar"], ["-t", "1"], ["-t", "3"], ["-b", "1"], ["-ub", "5"]] {
        assert_eq!(ok(&[&base[..], &more[..]].concat()), first, "{more:?}");
    }
    let mut other = base;
    other[8] = "8";
    assert_ne!(ok(&other), first, "another seed");
}

#[test]
fn prompts_come_from_a_file_or_stdin_with_their_escapes_as_asked() {
    let q4 = q4();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "She said\\n\n").unwrap();
    let file = file.to_str().unwrap();
    let echo = |more: &[&str]| ok(&[&["run", "-m", &q4, "-n", "0", "--echo"], more].concat());
    assert_eq!(echo(&["-f", file]), "She said\\n\n", "a file is taken as it is, less one newline");
    assert_eq!(echo(&["-p", "a\\tb"]), "a\tb\n");
    assert_eq!(echo(&["-p", "a\\tb", "--no-escape"]), "a\\tb\n");
    let mut child =
        kinglet(&["run", "-m", &q4, "-n", "0", "--echo", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all("Émile\n".as_bytes()).unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "Émile\n");

    let invalid = folder.path().join("invalid.txt");
    std::fs::write(&invalid, b"ab\xff").unwrap();
    assert!(fails(1, &["run", "-m", &q4, "-f", invalid.to_str().unwrap()]).contains("invalid byte at 2"));
    assert!(fails(1, &["run", "-m", &q4, "-p", ""]).contains("prompt is empty"));
    assert!(fails(1, &["run", "-m", &q4, "-f", "/no/such/file"]).contains("/no/such/file"));
}

#[test]
fn a_full_context_ends_with_an_error_and_the_text_so_far_unless_asked_to_go_on() {
    let q4 = q4();
    let args = ["run", "-m", &q4, "-p", "It was a fine morning", "-c", "24", "-n", "100", "--temp", "0", "--ignore-eos"];
    let out = output(&args);
    assert_eq!(out.status.code(), Some(1));
    let stopped = text(&out.stdout);
    assert!(stopped.len() > 10, "the text so far: {stopped:?}");
    let stderr = text(&out.stderr);
    assert!(stderr.contains("context of 24 positions is full") && stderr.contains("--keep"), "{stderr}");

    let mut until_full = args;
    until_full[8] = "-2";
    assert_eq!(ok(&until_full), stopped, "-n -2 asks for just that");

    let kept = output(&[&args[..], &["--keep", "4"]].concat());
    assert!(kept.status.success(), "{}", text(&kept.stderr));
    assert!(text(&kept.stdout).starts_with(stopped.trim_end_matches('\n')) && kept.stdout.len() > stopped.len() + 50);
    assert!(text(&kept.stderr).contains("shifted"));

    let too_long = fails(1, &["run", "-m", &q4, "-p", "It was a fine morning and nothing happened", "-c", "3"]);
    assert!(too_long.contains("the context 3") && too_long.contains("-c"), "{too_long}");
}

#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let q4 = q4();
    let mut child = kinglet(&["run", "-m", &q4, "-p", "It was", "-n", "-1", "--keep", "4", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(text(&out.stderr), "");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_run_with_its_figures() {
    let q4 = q4();
    let mut child = kinglet(&["run", "-m", &q4, "-p", "It was", "-n", "-1", "--keep", "4", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 8]).unwrap();
    let reader = std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let out = child.wait_with_output().unwrap();
    reader.join().unwrap().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("tokens/s"), "{}", text(&out.stderr));
}

#[test]
fn stop_texts_and_biases_act_on_the_text() {
    let q4 = q4();
    let base = ["run", "-m", &q4, "-p", "It was a fine morning", "-n", "60", "--temp", "0"];
    let whole = ok(&base);
    let words: Vec<&str> = whole.split_whitespace().collect();
    let stop = words[words.len() / 2];
    let stopped = ok(&[&base[..], &["-r", stop]].concat());
    let expected = whole.split(stop).next().unwrap();
    assert_eq!(stopped.strip_suffix('\n').unwrap(), expected, "ends before {stop:?}, though not at a token's edge");

    let first = ok(&["tokenize", "-m", &q4, "-p", whole.trim_end_matches('\n'), "--ids", "--no-special"]);
    let first = first.trim().split(',').next().unwrap();
    let biased = ok(&[&base[..], &["--logit-bias", &format!("{first}-inf")]].concat());
    assert_ne!(biased, whole);
    assert!(fails(1, &[&base[..], &["--logit-bias", "9999999+1"]].concat()).contains("9999999"));
}

#[test]
fn tokens_go_to_text_and_back() {
    let q4 = q4();
    let prompt = "Mr. Knightley’s naïve 42 – ok?";
    let ids = ok(&["tokenize", "-m", &q4, "-p", prompt, "--ids", "--no-special"]);
    assert_eq!(ok(&["tokenize", "-m", &q4, "--decode", ids.trim()]).trim_end_matches('\n'), prompt);
    let count: usize = ok(&["tokenize", "-m", &q4, "-p", prompt, "--count", "--no-special"]).trim().parse().unwrap();
    assert_eq!(count, ids.trim().split(',').count());
    assert_eq!(ok(&["tokenize", "-m", &q4, "-p", prompt, "--no-special"]).lines().count(), count);
    assert!(fails(2, &["tokenize", "-m", &q4, "--decode", "1,99999999"]).contains("99999999"));
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&ok(args)).unwrap()
}

#[test]
fn plan_of_the_file_the_folder_and_the_configuration_agree() {
    let (q4, folder) = (q4(), tiny_folder());
    let folder = folder.to_str().unwrap();
    let of_file = json(&["plan", &q4, "-c", "300", "--json"]);
    assert_eq!(of_file["file_bytes"], std::fs::metadata(&q4).unwrap().len());
    let of_folder = json(&["plan", folder, "--type", "q4", "-c", "300", "--json"]);
    for field in ["weight_bytes", "arena_bytes", "cache_bytes"] {
        assert_eq!(of_file[field], of_folder[field], "{field}");
        let config = format!("{folder}/config.json");
        assert_eq!(of_file[field], json(&["plan", &config, "--type", "q4", "-c", "300", "--json"])[field], "{field}");
    }
    // The folders' names stand in the files.
    assert!((of_file["file_bytes"].as_i64().unwrap() - of_folder["file_bytes"].as_i64().unwrap()).abs() < 64);
    assert!(json(&["plan", &q4, "-c", "300", "--cache", "f32", "--json"])["cache_bytes"].as_u64() > of_file["cache_bytes"].as_u64());
    let table = ok(&["plan", &q4]);
    assert!(table.contains("Raspberry Pi Zero 2 W") && table.contains("Jetson AGX Orin, 64 GB"), "{table}");
}

#[test]
fn inspect_tells_spec_tensors_and_parameters() {
    let q4 = q4();
    let told = ok(&["inspect", &q4]);
    for words in ["RMS norm", "query heads", "gated of", "token_embedding", "tokenizer ", "ended by", "bits per weight"] {
        assert!(told.contains(words), "expected {words:?} in\n{told}");
    }
    let of_file = json(&["inspect", &q4, "--json"]);
    let bytes: u64 = of_file["tensors"].as_array().unwrap().iter().map(|t| t["bytes"].as_u64().unwrap()).sum();
    assert!(bytes > 500_000 && bytes < of_file["file_bytes"].as_u64().unwrap());
    let of_folder = json(&["inspect", tiny_folder().to_str().unwrap(), "--json"]);
    for field in ["vocab", "hidden", "layers", "stored_weights"] {
        assert_eq!(of_file[field], of_folder[field], "{field}");
    }
    let listed = ok(&["inspect", &q4, "--tensors"]);
    assert!(listed.contains("layer.0.attn_qkv") && listed.contains("SHA-256"));
}

#[test]
fn verify_sees_one_changed_bit_anywhere() {
    let q4 = q4();
    assert!(ok(&["verify", &q4]).contains("good"));
    let bytes = std::fs::read(&q4).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.kgl");
    let path_text = path.to_str().unwrap();
    for at in [120, bytes.len() / 4, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let stderr = fails(1, &["verify", path_text]);
        assert!(stderr.contains("expected") && stderr.contains(path_text), "byte {at}: {stderr}");
    }
    let hashes = ok(&["verify", &q4, "--hashes"]);
    assert_eq!(hashes.lines().count(), json(&["inspect", &q4, "--json"])["tensors"].as_array().unwrap().len());
}

#[test]
fn bench_hashes_are_the_same_however_it_runs() {
    let q4 = q4();
    let rows = |more: &[&str]| json(&[&["bench", "-m", &q4, "-p", "40", "-n", "6", "-d", "0,33", "-r", "2", "-o", "json"], more].concat());
    let first = rows(&["-t", "1,2"]);
    let of = |rows: &Value, i: usize, field: &str| rows[i][field].clone();
    let tests: Vec<String> = (0..8).map(|i| of(&first, i, "test").as_str().unwrap().to_owned()).collect();
    assert_eq!(tests[..4], ["pp40", "tg6", "pp40 @ d33", "tg6 @ d33"]);
    let scalar = rows(&["-t", "1", "--isa", "scalar", "-b", "3"]);
    for (i, test) in tests[..4].iter().enumerate() {
        assert_eq!(of(&first, i, "logits"), of(&first, i + 4, "logits"), "threads, {test}");
        assert_eq!(of(&first, i, "logits"), of(&scalar, i, "logits"), "scalar, {test}");
        assert!(of(&first, i, "tokens_per_second").as_f64().unwrap() > 0.0);
    }
    // The prompt's row after 33 tokens of context ends like one of 73 tokens without.
    let long = json(&["bench", "-m", &q4, "-p", "73", "-n", "0", "-r", "1", "-o", "json"]);
    assert_eq!(of(&long, 0, "logits"), of(&first, 2, "logits"));
    let table = ok(&["bench", "-m", &q4, "-p", "8", "-n", "2", "-r", "1"]);
    assert!(table.contains("| pp8 ") && table.contains("| tg2 ") && table.contains(" ± "), "{table}");
    assert_eq!(ok(&["bench", "-m", &q4, "-p", "8", "-n", "2", "-r", "1", "-o", "csv"]).lines().count(), 3);
}

fn excerpt() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/persuasion-excerpt.txt").to_str().unwrap().to_owned()
}

#[test]
fn perplexity_is_that_of_a_trained_model_and_nearly_kept_by_quantising() {
    let (q4, q8, f32, text) = (q4(), tiny(DType::Q8), tiny(DType::F32), excerpt());
    let (q8, f32) = (q8.to_str().unwrap(), f32.to_str().unwrap());
    let base = ["-f", &text, "-c", "128", "--chunks", "6", "-o", "json"];
    let of = |file: &str| json(&[&["perplexity", "-m", file, "--reference", f32], &base[..]].concat());
    let (four, eight) = (of(&q4), of(q8));
    let own = |result: &Value, key: &str| result[key].as_f64().unwrap_or_else(|| panic!("{key} in {result}"));
    let reference = own(&four, "reference_perplexity");
    assert!(reference > 2.0 && reference < 200.0, "1,024 would be a guess: {reference}");
    assert_eq!(own(&four, "tokens_scored"), (6 * (128 - 1 - 64)) as f64);
    assert!(own(&eight, "kl_divergence_mean") < own(&four, "kl_divergence_mean"));
    assert!(own(&eight, "same_top_token") > 0.95);
    assert!((own(&four, "perplexity") / reference).ln().abs() < 0.2);
    let ratio = (own(&four, "perplexity") / reference).ln();
    assert!((ratio - own(&four, "ln_ppl_reference_ppl")).abs() < 1e-9);
    let itself = json(&[&["perplexity", "-m", f32, "--reference", f32], &base[..]].concat());
    assert_eq!(own(&itself, "kl_divergence_maximum"), 0.0);
    assert_eq!(own(&itself, "same_top_token"), 1.0);
    let short = fails(1, &["perplexity", "-m", &q4, "-f", &text, "-c", "99999"]);
    assert!(short.contains("expected at least one chunk of 99999 tokens"), "{short}");
}

#[test]
fn chat_answers_once_or_line_by_line() {
    let q4 = q4();
    let once = output(&["chat", "-m", &q4, "-p", "Who is Emma?", "-n", "16", "--temp", "0"]);
    assert!(once.status.success(), "{}", text(&once.stderr));
    assert!(text(&once.stdout).ends_with('\n'));
    let mut child = kinglet(&["chat", "-m", &q4, "-n", "16", "--temp", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Who is Emma?\n/stats\n/reset\nWho is Emma?\n/nonsense\n/exit\nnever read\n").unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let one = text(&once.stdout);
    assert_eq!(text(&out.stdout), one.repeat(2), "after /reset the same question has the same answer");
    let stderr = text(&out.stderr);
    assert!(stderr.contains("tokens of context") && stderr.contains("/nonsense"), "{stderr}");
}

#[test]
fn a_peak_of_memory_is_the_file_the_arena_and_little_more() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let q4 = q4();
    let plan = json(&["plan", &q4, "-c", "400", "--json"]);
    let out = output(&["run", "-m", &q4, "-p", "It was", "-c", "400", "-n", "300", "--ignore-eos", "-v"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let stderr = text(&out.stderr);
    let number = |line: &str| -> u64 { line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap() };
    let find = |what: &str| number(stderr.lines().find(|l| l.starts_with(what)).unwrap_or_else(|| panic!("{what} in\n{stderr}")));
    assert_eq!(find("arena bytes"), plan["arena_bytes"].as_u64().unwrap(), "what `plan` says is what `run` uses");
    assert_eq!(find("file bytes"), plan["file_bytes"].as_u64().unwrap());
    let (peak, limit) = (find("peak bytes"), find("file bytes") + plan["cache_bytes"].as_u64().unwrap() + (16 << 20));
    assert!(peak <= limit, "peak {peak}, at most {limit}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let version = ok(&["--version"]);
    for words in ["kinglet ", "build ", "target: ", "scalar"] {
        assert!(version.contains(words), "{version}");
    }
    for command in ["demo", "run", "chat", "bench", "perplexity", "inspect", "plan", "verify", "tokenize", "selftest"] {
        assert!(ok(&[command, "--help"]).contains("Examples:"), "{command}");
    }
}

#[test]
fn the_demo_and_the_selftest_need_nothing() {
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| kinglet(args).current_dir(elsewhere.path()).output().unwrap();
    let demo = run(&["demo", "-n", "8"]);
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    let shown = text(&demo.stdout);
    for words in ["q4: It was", "q8: It was", "tokens/s", "bits"] {
        assert!(shown.contains(words), "expected {words:?} in\n{shown}");
    }
    let selftest = run(&["selftest", "-t", "2"]);
    assert!(selftest.status.success(), "{}{}", text(&selftest.stdout), text(&selftest.stderr));
    assert!(text(&selftest.stdout).contains("scalar: logits"));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing is left behind");
}
