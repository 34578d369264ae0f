//! The command `quantize`: what it refuses and in which words, and what it leaves behind when it does not finish.

mod common;
#[path = "common/runner.rs"]
mod runner;

use common::{Checkpoint, Tensor, files, shard_name, write_index, write_shard};
use safetensors::Dtype;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn quantize(args: &[&str]) -> Command {
    let mut command = runner::program(env!("CARGO_BIN_EXE_quantize"));
    command.args(args).stdin(Stdio::null());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder `model` with a checkpoint, and a place for the output beside it.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(checkpoint: &Checkpoint) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        checkpoint.write(&bench.model());
        bench
    }

    fn model(&self) -> std::path::PathBuf {
        self.folder.path().join("model")
    }

    fn out(&self) -> std::path::PathBuf {
        self.folder.path().join("out.kgl")
    }

    fn command(&self, more: &[&str]) -> Command {
        let (model, out) = (self.model(), self.out());
        let mut args = vec![model.to_str().unwrap(), out.to_str().unwrap(), "--no-tokenizer"];
        args.extend(more);
        quantize(&args)
    }

    /// Runs it and asserts that it fails, with all of `words` on stderr, and leaves no file.
    fn fails(&self, more: &[&str], words: &[&str]) -> Result<(), String> {
        let output = self.command(more).output().unwrap();
        let text = stderr(&output);
        if output.status.code() != Some(1) {
            return Err(format!("exit {:?}: {text}", output.status));
        }
        if let Some(word) = words.iter().find(|word| !text.contains(*word)) {
            return Err(format!("`{word}` is not in: {text}"));
        }
        let left = files(self.folder.path());
        if left != [self.model()] { Err(format!("left behind: {left:?}")) } else { Ok(()) }
    }
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_conversion_prints_its_table_and_leaves_one_file() {
    let bench = Bench::new(&Checkpoint::small());
    let output = bench.command(&[]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout);
    for word in
        ["embedding, head", "attn_qkv", "ffn_down", "norms, biases", "rotary", "total", "q4", "q8", "SNR dB", "exact", "MB/s", "out.kgl"]
    {
        assert!(table.contains(word), "`{word}` is not in:\n{table}");
    }
    assert_eq!(stderr(&output), "", "a bar has no place in a file");
    assert_eq!(files(bench.folder.path()), [bench.model(), bench.out()]);
}

#[test]
fn a_dry_run_prints_the_same_sizes_and_writes_nothing() {
    let bench = Bench::new(&Checkpoint::small());
    let model = bench.model();
    let dry = quantize(&[model.to_str().unwrap(), "--dry-run", "--no-tokenizer"]).output().unwrap();
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert_eq!(files(bench.folder.path()), [bench.model()]);
    let real = bench.command(&[]).output().unwrap();
    let total = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.starts_with("total")).expect(&text);
        line.split_whitespace().next_back().unwrap().replace(',', "").parse::<u64>().unwrap()
    };
    assert_eq!(total(&dry), total(&real));
    assert_eq!(total(&real), std::fs::metadata(bench.out()).unwrap().len());
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let bench = Bench::new(&Checkpoint::llama(203, 64, 200, 2));
    for weights in ["q4", "q8", "f16", "f32"] {
        let mut outputs = Vec::new();
        for threads in ["1", "2", "5"] {
            let output = bench.command(&["--type", weights, "--threads", threads, "--force"]).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            // All but the line with the time.
            let table: Vec<_> =
                String::from_utf8(output.stdout).unwrap().lines().take_while(|l| !l.is_empty()).map(str::to_owned).collect();
            outputs.push((std::fs::read(bench.out()).unwrap(), table));
        }
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]), "{weights}");
    }
}

/// Changes to a configuration, and what the refusal must name.
#[test]
fn configurations_are_refused_by_name() {
    let cases: &[(&str, Value, &[&str])] = &[
        ("model_type", json!("mamba"), &["model_type `mamba`", "llama, mistral, qwen2, gpt2"]),
        ("model_type", Value::Null, &["`model_type` is missing"]),
        ("architectures", json!(["LlamaForSequenceClassification"]), &["architectures", "LlamaForSequenceClassification"]),
        ("hidden_act", json!("quick_gelu"), &["hidden_act", "quick_gelu"]),
        ("hidden_size", json!("64"), &["hidden_size", "whole number", "\"64\""]),
        ("hidden_size", json!(-64), &["hidden_size", "-64"]),
        ("hidden_size", Value::Null, &["`hidden_size` is missing"]),
        ("num_attention_heads", json!(0), &["multiple of the 0 attention heads"]),
        ("num_attention_heads", json!(3), &["multiple of the 3 attention heads"]),
        ("num_key_value_heads", json!(3), &["heads is 4, expected a multiple of 3"]),
        ("num_hidden_layers", json!(4_000_000_000u32), &["num_hidden_layers", "1 to 1024", "4000000000"]),
        ("head_dim", json!(4_294_967_295u32), &["head_dim", "4294967295"]),
        ("vocab_size", json!(1.5), &["vocab_size", "1.5"]),
        ("rms_norm_eps", json!(0.0), &["rms_norm_eps", "positive"]),
        ("rope_theta", json!("inf"), &["rope_theta"]),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), &["rope_scaling.rope_type", "yarn", "linear, llama3"]),
        ("rope_scaling", json!({"type": "dynamic", "factor": 4.0}), &["dynamic"]),
        ("rope_scaling", json!({"rope_type": "longrope", "long_factor": []}), &["longrope"]),
        ("rope_scaling", json!({"rope_type": "linear"}), &["`rope_scaling.factor` is missing"]),
        ("rope_scaling", json!({"rope_type": "linear", "factor": 2.0, "attention_factor": 1.5}), &["rope_scaling.attention_factor", "1.5"]),
        (
            "rope_scaling",
            json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 64}),
            &["high_freq_factor"],
        ),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 5.0}), &["rope_parameters.rope_theta", "is 5", "is 10000"]),
        ("partial_rotary_factor", json!(0.5), &["partial_rotary_factor", "0.5"]),
        ("quantization_config", json!({"bits": 4, "quant_method": "gptq"}), &["quantization_config", "gptq"]),
        ("attn_logit_softcapping", json!(50.0), &["attn_logit_softcapping"]),
        ("final_logit_softcapping", json!(30.0), &["final_logit_softcapping"]),
        ("logit_scale", json!(0.0625), &["logit_scale", "0.0625"]),
        ("sliding_window", json!(4096), &["sliding_window", "4096"]),
        ("num_local_experts", json!(8), &["num_local_experts", "8"]),
        ("layer_types", json!(["full_attention", "sliding_attention"]), &["layer_types"]),
        ("is_encoder_decoder", json!(true), &["is_encoder_decoder"]),
        ("tie_word_embeddings", json!("yes"), &["tie_word_embeddings", "true or false"]),
        ("tie_word_embeddings", json!(false), &["tensor `lm_head.weight` is missing"]),
        ("attention_bias", json!(true), &["self_attn.q_proj.bias` is missing"]),
        ("intermediate_size", json!(128), &["mlp.gate_proj.weight", "[128, 64]", "[96, 64]"]),
        ("vocab_size", json!(24), &["embed_tokens.weight", "[24, 64]", "[20, 64]"]),
        ("num_hidden_layers", json!(1), &["model.layers.1.", "has no place"]),
        ("num_hidden_layers", json!(3), &["model.layers.2.", "is missing"]),
    ];
    let bench = Bench::new(&Checkpoint::small());
    let mut failures = Vec::new();
    for (key, value, words) in cases {
        let mut checkpoint = Checkpoint::small();
        checkpoint.config[*key] = value.clone();
        checkpoint.write_config(&bench.model());
        let mut words = words.to_vec();
        // What the weights contradict is told of the weights, everything else of the configuration.
        if !words[0].contains("tensor") && !words[0].contains("missing") && !words[0].starts_with("model.") && !words.contains(&"[96, 64]")
        {
            words.push("config.json");
        }
        if let Err(e) = bench.fails(&[], &words) {
            failures.push(format!("{key} = {value}: {e}"));
        }
    }
    report(&failures);
}

/// Keys without effect are silent, keys that nobody knows are warned of.
#[test]
fn harmless_keys_are_silent_and_unknown_ones_are_not() {
    let mut checkpoint = Checkpoint::small();
    checkpoint.config["pretraining_tp"] = json!(2);
    checkpoint.config["rope_scaling"] = json!({"rope_type": "default"});
    checkpoint.config["quantization_config"] = Value::Null;
    checkpoint.config["transformers_version"] = json!("4.46.3");
    let bench = Bench::new(&checkpoint);
    let output = bench.command(&[]).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    checkpoint.config["use_turbo"] = json!({"level": 9});
    checkpoint.write_config(&bench.model());
    let output = bench.command(&["--force"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("unknown key `use_turbo` = {\"level\":9} is ignored"), "{}", stderr(&output));
}

const GATE: &str = "model.layers.1.mlp.gate_proj.weight";

#[test]
fn damaged_weights_are_refused_with_their_place() {
    type Case = (&'static str, fn(&mut Checkpoint), &'static [&'static str], &'static [&'static str]);
    let cases: &[Case] = &[
        ("NaN", |c| c.set(GATE, 64 * 17 + 5, f32::NAN), &[], &[GATE, "row 17, column 5", "NaN", "model.safetensors"]),
        ("infinity", |c| c.set(GATE, 3, f32::NEG_INFINITY), &["--type", "f32"], &[GATE, "row 0, column 3", "-inf"]),
        ("NaN in the last row", |c| c.set("model.embed_tokens.weight", 20 * 64 - 1, f32::NAN), &[], &["row 19, column 63"]),
        ("NaN in a stacked part", |c| c.set("model.layers.0.self_attn.v_proj.weight", 64, f32::NAN), &[], &["v_proj", "row 1, column 0"]),
        ("NaN in a norm", |c| c.set("model.norm.weight", 7, f32::NAN), &[], &["model.norm.weight", "row 0, column 7"]),
        (
            "two of them",
            |c| {
                c.set(GATE, 64 * 90, f32::NAN);
                c.set(GATE, 64 * 50, f32::NAN)
            },
            &[],
            &["row 50, column 0"],
        ),
        ("too large for f16", |c| c.set(GATE, 64, 65_520.0), &["--type", "f16"], &[GATE, "row 1, column 0", "6.552e4", "65504"]),
        ("too large for a scale", |c| c.set(GATE, 64, 3e38), &["--type", "q8"], &[GATE, "row 1, column 0", "too large"]),
        ("a missing tensor", |c| drop(c.tensors.remove(GATE)), &[], &[GATE, "missing"]),
        (
            "a tensor too many",
            |c| drop(c.tensors.insert("model.layers.0.self_attn.q_norm.weight".into(), Tensor::f32(&[16], |_| 1.0))),
            &[],
            &["q_norm", "no place in a llama model"],
        ),
        ("a transposed matrix", |c| c.tensors.get_mut(GATE).unwrap().shape = vec![64, 96], &[], &[GATE, "[96, 64]", "[64, 96]"]),
        ("a flat matrix", |c| c.tensors.get_mut(GATE).unwrap().shape = vec![64 * 96], &[], &[GATE, "[96, 64]", "[6144]"]),
        ("integers", |c| c.tensors.get_mut(GATE).unwrap().dtype = Dtype::I32, &[], &[GATE, "F32, F16 or BF16", "I32"]),
        (
            "8-bit floats",
            |c| {
                let t = c.tensors.get_mut(GATE).unwrap();
                t.dtype = Dtype::F8_E4M3;
                t.bytes.truncate(96 * 64)
            },
            &[],
            &[GATE, "F8_E4M3"],
        ),
        (
            "doubles",
            |c| {
                let t = c.tensors.get_mut(GATE).unwrap();
                t.dtype = Dtype::F64;
                t.bytes.resize(96 * 64 * 8, 0)
            },
            &[],
            &[GATE, "F64"],
        ),
    ];
    let mut failures = Vec::new();
    for (name, damage, args, words) in cases {
        let mut checkpoint = Checkpoint::small();
        damage(&mut checkpoint);
        if let Err(e) = Bench::new(&checkpoint).fails(args, words) {
            failures.push(format!("{name}: {e}"));
        }
    }
    report(&failures);
}

#[test]
fn damaged_files_are_refused_by_name() {
    type Damage = fn(&Path, &Checkpoint);
    fn index(folder: &Path, c: &Checkpoint, change: impl FnOnce(&mut Value)) {
        std::fs::remove_file(folder.join("model.safetensors")).unwrap();
        let mut index = c.write_shards(folder);
        change(&mut index);
        write_index(folder, &index);
    }
    fn cut(path: &Path, len: impl Fn(u64) -> u64) {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(len(file.metadata().unwrap().len())).unwrap();
    }
    let cases: &[(&str, Damage, &[&str])] = &[
        ("a truncated file", |f, _| cut(&f.join("model.safetensors"), |n| n - 1), &["model.safetensors: truncated"]),
        ("an empty file", |f, _| cut(&f.join("model.safetensors"), |_| 0), &["model.safetensors: truncated", "0 bytes"]),
        ("a file that ends in its header", |f, _| cut(&f.join("model.safetensors"), |_| 100), &["model.safetensors: truncated"]),
        (
            "a pickle under another name",
            |f, _| std::fs::write(f.join("model.safetensors"), b"PK\x03\x04 and so on").unwrap(),
            &["model.safetensors"],
        ),
        (
            "only a pickle",
            |f, _| std::fs::rename(f.join("model.safetensors"), f.join("pytorch_model.bin")).unwrap(),
            &["pickled", "safetensors"],
        ),
        ("no weights", |f, _| std::fs::remove_file(f.join("model.safetensors")).unwrap(), &["neither model.safetensors nor"]),
        ("no configuration", |f, _| std::fs::remove_file(f.join("config.json")).unwrap(), &["config.json is missing"]),
        (
            "a configuration that is not JSON",
            |f, _| std::fs::write(f.join("config.json"), "{").unwrap(),
            &["config.json: not a JSON object"],
        ),
        (
            "a configuration with NaN",
            |f, _| std::fs::write(f.join("config.json"), r#"{"rope_theta": NaN}"#).unwrap(),
            &["config.json: not a JSON"],
        ),
        (
            "a configuration that is a list",
            |f, _| std::fs::write(f.join("config.json"), "[]").unwrap(),
            &["config.json", "expected an object"],
        ),
        ("a configuration that is not UTF-8", |f, _| std::fs::write(f.join("config.json"), b"\xff").unwrap(), &["config.json", "UTF-8"]),
        (
            "a configuration nested without end",
            |f, _| std::fs::write(f.join("config.json"), "[".repeat(100_000)).unwrap(),
            &["config.json: not a JSON"],
        ),
        ("an index without a map", |f, c| index(f, c, |i| *i = json!({})), &["index.json", "weight_map"]),
        ("an empty index", |f, c| index(f, c, |i| i["weight_map"] = json!({})), &["weight_map is empty"]),
        (
            "an index that climbs out",
            |f, c| index(f, c, |i| i["weight_map"][GATE] = json!("../model.safetensors")),
            &[GATE, "../model.safetensors", "same folder"],
        ),
        (
            "an index with an absolute path",
            |f, c| index(f, c, |i| i["weight_map"][GATE] = json!("/etc/passwd")),
            &["/etc/passwd", "same folder"],
        ),
        ("an index with a number", |f, c| index(f, c, |i| i["weight_map"][GATE] = json!(1)), &[GATE, "expected a file name, got 1"]),
        (
            "a missing shard",
            |f, c| {
                index(f, c, |_| ());
                std::fs::remove_file(f.join(shard_name(1))).unwrap()
            },
            &["shard model-00002-of-00002.safetensors is missing", "10 of 20"],
        ),
        (
            "a truncated shard",
            |f, c| {
                index(f, c, |_| ());
                cut(&f.join(shard_name(1)), |n| n - 100)
            },
            &["model-00002-of-00002.safetensors: truncated"],
        ),
        (
            "an index that names a tensor no shard has",
            |f, c| index(f, c, |i| i["weight_map"]["ghost"] = json!(shard_name(0))),
            &["`ghost`", "does not have it"],
        ),
        (
            "an index that names the other shard",
            |f, c| {
                index(f, c, |i| {
                    let other = if i["weight_map"][GATE] == shard_name(0) { 1 } else { 0 };
                    i["weight_map"][GATE] = json!(shard_name(other));
                })
            },
            &[GATE, "but is in"],
        ),
        (
            "a tensor that the index forgot",
            |f, c| index(f, c, |i| drop(i["weight_map"].as_object_mut().unwrap().remove(GATE))),
            &[GATE, "is not in weight_map"],
        ),
        (
            "a tensor in two shards",
            |f, c| {
                index(f, c, |_| ());
                write_shard(&f.join(shard_name(1)), c.tensors.iter())
            },
            &["is in model-00001", "again in model-00002"],
        ),
        (
            "a shard that is a folder",
            |f, c| {
                index(f, c, |_| ());
                std::fs::remove_file(f.join(shard_name(0))).unwrap();
                std::fs::create_dir(f.join(shard_name(0))).unwrap()
            },
            &["model-00001-of-00002.safetensors"],
        ),
    ];
    let mut failures = Vec::new();
    for (name, damage, words) in cases {
        let checkpoint = Checkpoint::small();
        let bench = Bench::new(&checkpoint);
        damage(&bench.model(), &checkpoint);
        if let Err(e) = bench.fails(&[], words) {
            failures.push(format!("{name}: {e}"));
        }
    }
    report(&failures);
}

#[test]
fn shards_and_one_file_give_the_same_bytes() {
    let checkpoint = Checkpoint::small();
    let bench = Bench::new(&checkpoint);
    assert!(bench.command(&[]).stdout(Stdio::null()).status().unwrap().success());
    let whole = std::fs::read(bench.out()).unwrap();
    std::fs::remove_file(bench.model().join("model.safetensors")).unwrap();
    checkpoint.write_shards(&bench.model());
    assert!(bench.command(&["--force"]).stdout(Stdio::null()).status().unwrap().success());
    assert!(whole == std::fs::read(bench.out()).unwrap());
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_any_work() {
    let bench = Bench::new(&Checkpoint::small());
    let (model, folder) = (bench.model(), bench.folder.path().to_owned());
    let run = |out: &Path, more: &[&str]| {
        let mut args = vec![model.to_str().unwrap(), out.to_str().unwrap(), "--no-tokenizer"];
        args.extend(more);
        let output = quantize(&args).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    std::fs::write(bench.out(), "precious").unwrap();
    let (code, text) = run(&bench.out(), &[]);
    assert!(code == Some(1) && text.contains("out.kgl: exists; --force"), "{text}");
    let (code, text) = run(&folder, &["--force"]);
    assert!(code == Some(1) && text.contains("got a folder"), "{text}");
    let (code, text) = run(&folder.join("nowhere/out.kgl"), &[]);
    assert!(code == Some(1) && text.contains("its folder does not exist"), "{text}");
    for file in ["model.safetensors", "config.json"] {
        let before = std::fs::read(model.join(file)).unwrap();
        let (code, text) = run(&model.join(file), &["--force"]);
        assert!(code == Some(1) && text.contains("is a file of the checkpoint"), "{text}");
        assert!(before == std::fs::read(model.join(file)).unwrap());
    }
    let (code, text) = run(Path::new("/proc/version"), &["--force"]);
    assert!(code == Some(1) && text.contains("cannot write"), "{text}");
    // A failure leaves what was there.
    let mut broken = Checkpoint::small();
    broken.set(GATE, 0, f32::NAN);
    broken.write(&model);
    assert_eq!(run(&bench.out(), &["--force"]).0, Some(1));
    assert_eq!(std::fs::read(bench.out()).unwrap(), b"precious");
    Checkpoint::small().write(&model);
    assert_eq!(run(&bench.out(), &["--force"]), (Some(0), String::new()));
    assert_eq!(files(&folder), [model.clone(), bench.out()]);
    assert_eq!(files(&model).len(), 2);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    // A limit on the size of files stands in for a full disk: the same calls fail, with another number.
    let bench = Bench::new(&Checkpoint::llama(400, 128, 256, 2));
    let (model, out) = (bench.model(), bench.out());
    let script = format!(
        "ulimit -f 64; exec $KINGLET_RUNNER {} {} {} --no-tokenizer --type f32",
        env!("CARGO_BIN_EXE_quantize"),
        model.display(),
        out.display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("out.kgl: cannot write: File too large"), "{}", stderr(&output));
    assert_eq!(files(bench.folder.path()), [model]);
}

#[test]
fn an_interrupted_conversion_leaves_nothing() {
    // Large enough that it cannot be done when the signal comes.
    let bench = Bench::new(&Checkpoint::llama(20_000, 512, 2048, 8));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let child = bench
            .command(&["--type", "q4", "--embed-type", "q4", "--threads", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The temporary file shows that the work has begun.
        let begun = std::time::Instant::now();
        while files(bench.folder.path()).len() < 2 {
            assert!(begun.elapsed().as_secs() < 60, "no temporary file");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let killed = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let sent = std::time::Instant::now();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains("interrupted; nothing was written"), "{}", stderr(&output));
        assert!(sent.elapsed().as_secs() < 10, "it took {:?} to stop", sent.elapsed());
        assert_eq!(files(bench.folder.path()), [bench.model()]);
    }
}

/// Anonymous memory stays below twice the largest tensor and 64 MiB.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_within_its_bound() {
    // The embedding has 48 MiB; the whole checkpoint 200.
    let checkpoint = Checkpoint::llama(24_576, 512, 2048, 9);
    let largest = checkpoint.tensors.values().map(|t| t.bytes.len()).max().unwrap() as u64;
    let bench = Bench::new(&checkpoint);
    drop(checkpoint);
    for weights in ["f32", "q8"] {
        let mut child = bench.command(&["--type", weights, "--threads", "4", "--force"]).stdout(Stdio::null()).spawn().unwrap();
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let anonymous =
                status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
            peak = peak.max(anonymous.unwrap_or(0) * 1024);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(child.wait().unwrap().success());
        assert!(peak > 4 << 20, "{peak} bytes: nothing was measured");
        assert!(peak < 2 * largest + (64 << 20), "{weights}: {peak} bytes above the mapping, largest tensor {largest}");
        println!("{weights}: {peak} bytes above the mapping");
    }
}

#[test]
fn wrong_usage_is_exit_status_2() {
    for args in
        [&[][..], &["model"], &["model", "out.kgl", "--type", "q5"], &["model", "out.kgl", "--threads", "0"], &["model", "out.kgl", "more"]]
    {
        let output = quantize(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
    let output = quantize(&["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for word in ["Examples:", "bits per weight", "4.50", "8.25", "--embed-type", "--dry-run", "Exit status"] {
        assert!(help.contains(word), "`{word}` is not in:\n{help}");
    }
}

#[test]
fn a_folder_that_is_none_is_said_to_be_none() {
    let bench = Bench::new(&Checkpoint::small());
    let out = bench.out();
    for (path, words) in
        [(bench.folder.path().join("nowhere"), "no such folder"), (bench.model().join("config.json"), "expected a checkpoint folder")]
    {
        let output = quantize(&[path.to_str().unwrap(), out.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    let model = bench.model();
    let output = quantize(&[model.to_str().unwrap(), out.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("tokenizer.json is missing; --no-tokenizer"), "{}", stderr(&output));
}

#[test]
fn a_tied_model_has_one_type_for_both() {
    let bench = Bench::new(&Checkpoint::small());
    bench.fails(&["--embed-type", "q8", "--head-type", "q4"], &["embedding (q8) and head (q4) are one matrix"]).unwrap();
    for args in [&["--embed-type", "f16"][..], &["--head-type", "f16"], &["--embed-type", "f16", "--head-type", "f16"]] {
        let output = bench.command(&[args, &["--force"]].concat()).output().unwrap();
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = table.lines().find(|line| line.starts_with("embedding, head")).expect(&table);
        assert!(line.contains("f16"), "{table}");
    }
}
