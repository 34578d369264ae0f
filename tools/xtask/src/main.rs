//! `cargo xtask ci` is what CI runs, gate after gate; each gate can be run alone. `cargo xtask` lists them.
//!
//! A gate that cannot run fails: nothing is skipped in silence. The last line says what ran on which instruction set.

mod ci;
mod shell;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let result = match (args.next().as_deref(), args.next()) {
        (Some("ci"), None) => ci::all(),
        (Some(name), None) => match ci::GATES.iter().find(|gate| gate.name == name) {
            Some(gate) => (gate.run)(&mut ci::Ran::default()),
            None => Err(format!("there is no task {name:?}; `cargo xtask` lists them")),
        },
        _ => {
            println!("cargo xtask ci       every gate, in this order:");
            for gate in ci::GATES {
                println!("cargo xtask {:8} {}", gate.name, gate.about);
            }
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
