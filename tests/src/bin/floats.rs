//! The float helpers of the number law over every input there is; see [`kinglet_tests::floats`].
//!
//!     cargo run --release -p kinglet-tests --bin floats -- --all
//!
//! takes tens of minutes. `--step N` takes every Nth input; hashes are known for 1, 61 and 4,099, the last being what a run without
//! options takes. Names of helpers, such as `exp silu`, choose among them.

use kinglet::isa::Isa;
use kinglet::kernels::Kernels;
use kinglet_tests::floats::{HELPERS, STEPS};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: floats [--all | --step N] [--threads N] [HELPER...]";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("floats: {message}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything held.
fn run() -> Result<bool, String> {
    let mut step = STEPS[STEPS.len() - 1];
    let mut threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments.next().and_then(|value| value.parse().ok()).filter(|n| *n > 0);
            value.ok_or_else(|| format!("{argument}: expected a number above 0"))
        };
        match argument.as_str() {
            "--all" => step = 1,
            "--step" => step = number()?,
            "--threads" => threads = number()? as usize,
            name if HELPERS.iter().any(|helper| helper.name == name) => names.push(name.to_owned()),
            other => {
                let known: Vec<&str> = HELPERS.iter().map(|helper| helper.name).collect();
                return Err(format!("{other:?} is no option and no helper; helpers are {}", known.join(" ")));
            }
        }
    }
    let tables: Vec<&Kernels> = Isa::available().filter_map(Kernels::select).collect();
    let isas: Vec<&str> = tables.iter().map(|table| table.isa.name()).collect();
    println!("every {step}th input, on {}; {threads} threads", isas.join(", "));
    let mut holds = true;
    let start = Instant::now();
    for helper in HELPERS.iter().filter(|helper| names.is_empty() || names.iter().any(|name| name == helper.name)) {
        let started = Instant::now();
        let report = helper.run(&tables, step, threads);
        let mut faults = report.faults;
        faults.extend(helper.run_edges(&tables).faults);
        let known = match helper.golden(step) {
            Some(golden) if golden == report.hash => "as on every machine",
            Some(golden) => {
                faults.push(format!("expected the hash {golden:016x}"));
                "wrong"
            }
            None => "not known for this step",
        };
        println!(
            "{:6} {:16} {:016x} {known}; {} inputs by {}; {:.2} of the oracle's bound; {:.1} s",
            if faults.is_empty() { "ok" } else { "FAILED" },
            helper.name,
            report.hash,
            report.inputs,
            helper.routes().collect::<Vec<_>>().join(", "),
            report.worst.0,
            started.elapsed().as_secs_f64(),
        );
        for fault in &faults {
            println!("       {fault}");
        }
        holds &= faults.is_empty();
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(holds)
}
