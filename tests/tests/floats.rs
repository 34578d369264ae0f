//! The float helpers on every 4,099th input and at their edges. All 2^32 take
//! `cargo run --release -p kinglet-tests --bin floats -- --all`.

use kinglet::isa::Isa;
use kinglet::kernels::Kernels;
use kinglet_tests::floats::{HELPERS, STEPS};

#[test]
fn every_instruction_set_and_every_machine_gives_the_same_bits() {
    let tables: Vec<&Kernels> = Isa::available().filter_map(Kernels::select).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let step = STEPS[STEPS.len() - 1];
    let mut failures = Vec::new();
    for helper in HELPERS {
        let report = helper.run(&tables, step, threads);
        println!("{}: {} inputs, {:016x}, {:.2} of the oracle's bound", helper.name, report.inputs, report.hash, report.worst.0);
        if helper.golden(step) != Some(report.hash) {
            failures.push(format!("{}: the hash is {:016x}", helper.name, report.hash));
        }
        let faults = report.faults.into_iter().chain(helper.run_edges(&tables).faults);
        failures.extend(faults.map(|fault| format!("{}: {fault}", helper.name)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
