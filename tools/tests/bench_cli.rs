//! What `kinglet bench` tells of the machine, from outside: machines are folders, given by `--sysroot`.

use kinglet_quant::DType;
use kinglet_tools::checkpoint::Checkpoint;
use kinglet_tools::convert::{Calibration, Conversion, Options};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

#[path = "common/runner.rs"]
mod runner;

/// The tiny model at q4, converted once.
fn tiny() -> &'static str {
    static FILE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FILE.get_or_init(|| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("tiny.kgl");
        let checkpoint = Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny")).unwrap();
        let options = Options { calibration: Calibration::Off, ..Options::of(DType::Q4) };
        Conversion::plan(&checkpoint, &options).unwrap().run(&path, false, None, &()).unwrap();
        (folder, path)
    });
    path.to_str().unwrap()
}

fn bench(args: &[&str]) -> String {
    let out = runner::program(env!("CARGO_BIN_EXE_kinglet")).args(["bench", "-m", tiny()]).args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&bench(&[args, &["-o", "json"]].concat())).unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// Two large cores, two small ones; a rail of 5 V and 2 A; a cooler that is at work.
fn board() -> tempfile::TempDir {
    let board = folder(&[
        ("proc/device-tree/model", "A | board\0"),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "61500\n"),
        ("sys/class/thermal/cooling_device0/type", "cpufreq-cpu2\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "1\n"),
        ("sys/class/hwmon/hwmon0/name", "ina3221\n"),
        ("sys/class/hwmon/hwmon0/in1_label", "VDD_IN\n"),
        ("sys/class/hwmon/hwmon0/in1_input", "5000\n"),
        ("sys/class/hwmon/hwmon0/curr1_input", "2000\n"),
    ]);
    for (cpu, capacity, midr, policy, khz) in
        [(0, 400, "d03", 0, 1500), (1, 400, "d03", 0, 1500), (2, 1024, "d08", 2, 1800), (3, 1024, "d08", 2, 1800)]
    {
        let write = |path: String, text: String| {
            let path = board.path().join("sys/devices/system/cpu").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(format!("cpu{cpu}/cpu_capacity"), capacity.to_string());
        write(format!("cpu{cpu}/regs/identification/midr_el1"), format!("0x00000000410f{midr}0"));
        write(format!("cpufreq/policy{policy}/related_cpus"), format!("{policy} {}", policy + 1));
        write(format!("cpufreq/policy{policy}/scaling_cur_freq"), format!("{khz}000"));
        write(format!("cpufreq/policy{policy}/scaling_governor"), "schedutil\n".to_owned());
    }
    board
}

/// Repetitions of `-n 32` that take two to three seconds here.
fn repetitions(root: &str) -> String {
    let row = &json(&["-p", "0", "-n", "32", "-r", "3", "--sysroot", root])[0];
    ((2.5 * 3.0 / row["seconds"].as_f64().unwrap()).ceil() as u64).to_string()
}

#[test]
fn a_board_tells_what_it_is_and_draws() {
    let board = board();
    let root = board.path().to_str().unwrap();
    let repetitions = repetitions(root);
    let args = ["-p", "0", "-n", "32", "-r", &repetitions, "--sysroot", root];
    let row = &json(&args)[0];
    assert_eq!((row["threads"].as_u64(), &row["cpus"]), (Some(2), &serde_json::json!([2, 3])));
    let energy = &row["energy"];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("expected a number, got {energy}"));
    assert!((number(&energy["watts"]) - 10.0).abs() < 1e-6, "{energy}");
    assert!((number(&energy["joules"]) - 10.0 * number(&row["seconds"])).abs() < 1e-6, "{energy}");
    let tokens = 32.0 * number(&row["repetitions"]);
    assert!((number(&energy["tokens_per_joule"]) - tokens / number(&energy["joules"])).abs() < 1e-6, "{energy}");
    assert_eq!(row["throttling"]["events"], serde_json::json!(["cpufreq-cpu2"]));
    assert_eq!(row["machine"]["temperature"][0]["highest_celsius"], 61.5);
    assert_eq!(row["machine"]["frequency"][1]["while_measuring_khz"]["most"], 1_800_000);
    assert_eq!(row["machine"]["is_this_machine"], false);

    let text = bench(&args);
    for line in [
        "board        A | board\n",
        "cpu          2 × Cortex-A72 + 2 × Cortex-A53\n",
        "cores        2 threads on 2 of 4 cores: Cortex-A72 (cpu2-3)\n",
        "frequency    Cortex-A72 cpu2-3: 1,800 before, 1,800 while measuring, 1,800 MHz after; governor schedutil\n",
        "temperature  cpu-thermal: 61.5 before, 61.5 highest, 61.5 °C after\n",
        "throttling   yes: cpufreq-cpu2 (cooling devices)\n",
        " tokens/J; INA3221 VDD_IN\n",
        "not said of this machine\n",
    ] {
        assert!(text.contains(line), "expected {line:?} in\n{text}");
    }
    let (_, sent) = text.split_once("row for docs/boards.md:\n").unwrap();
    assert_eq!(sent.lines().count(), 1);
    let cells: Vec<&str> = sent.trim().split(" | ").collect();
    assert_eq!(cells.len(), 15, "{sent}");
    assert!(cells[0] == "| A \\| board" && cells[2] == "2 threads on 2 of 4 cores: Cortex-A72", "{sent}");
    assert_eq!((cells[9], cells[10], cells[11]), ("1,800 MHz", "62 → 62 °C", "yes: cpufreq-cpu2"), "{sent}");
    assert_eq!(cells[12], "10.0 (INA3221 VDD_IN)", "{sent}");
    assert!(cells[14].contains("not this machine"), "{sent}");

    let csv = bench(&[&args[..], &["-o", "csv"]].concat());
    let cell = |name: &str| {
        let (header, row) = csv.trim().split_once('\n').unwrap();
        let at = header.split(',').position(|column| column == name).unwrap();
        row.split(',').nth(at).unwrap().to_owned()
    };
    assert_eq!((cell("mhz_before").as_str(), cell("mhz_lowest").as_str(), cell("mhz_after").as_str()), ("1800", "1800", "1800"));
    assert_eq!((cell("board").as_str(), cell("watts").as_str(), cell("celsius_highest").as_str()), ("A | board", "10.0000", "61.5000"));

    // More threads than fast cores take them all.
    let all = &json(&["-p", "0", "-n", "2", "-r", "1", "-t", "3", "--sysroot", root])[0];
    assert_eq!(all["cpus"], serde_json::json!([0, 1, 2, 3]));
}

#[test]
fn what_a_machine_does_not_tell_is_absent() {
    let nothing = folder(&[]);
    let args = ["-p", "4", "-n", "4", "-r", "1", "-t", "2", "--sysroot", nothing.path().to_str().unwrap()];
    let text = bench(&args);
    for what in ["board", "cpu", "frequency", "temperature", "throttling", "energy"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{what:<12} not told ("))), "expected {what} not told in\n{text}");
    }
    let sent = text.trim().lines().last().unwrap();
    assert!(sent.starts_with("| – | ") && sent.contains(" | – | – | – | – | – | – | 0."), "{sent}");
    let row = &json(&args)[0];
    let machine = &row["machine"];
    assert!(machine["board"].is_null() && machine["cpu"].is_null() && machine["throttling"].is_null() && row["throttling"].is_null());
    assert!(row["energy"]["absent"].as_str().unwrap().starts_with("no sensor") && row["energy"]["watts"].is_null());
}

#[cfg(target_os = "linux")]
#[test]
fn a_mask_that_the_user_set_is_kept() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    // A thread of its own: its child inherits the mask, other tests do not.
    let checked = std::thread::spawn(|| {
        let mask = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU).rfind(|&cpu| mask.is_set(cpu)).unwrap();
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one).unwrap();
        let row = &json(&["-p", "0", "-n", "4", "-r", "1"])[0];
        assert_eq!((row["threads"].as_u64(), &row["cpus"]), (Some(1), &serde_json::json!([cpu])));
        // Threads that were asked for share the CPU.
        assert_eq!(json(&["-p", "0", "-n", "4", "-r", "1", "-t", "2"])[0]["cpus"], serde_json::json!([cpu]));
    });
    checked.join().unwrap();
}
