//! `cargo xtask ci` is what CI runs, gate after gate; each gate can be run alone. `cargo xtask` lists them.
//!
//! A gate that cannot run fails: nothing is skipped in silence. The last line says what ran on which instruction set.

mod archive;
mod arm;
mod capi;
mod ci;
mod dist;
mod elf;
mod emulate;
mod notices;
mod shell;
mod smollm2;
mod toolchain;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["ci"] => ci::all(),
        ["header", ..] => capi::header::main(&args[1..]),
        ["install", ..] => capi::install::main(&args[1..]),
        ["dist", ..] => dist::main(&args[1..]),
        ["smollm2", ..] => smollm2::main(&args[1..]),
        ["arm-cycles", ..] => arm::run(&args[1..]),
        [name] => match ci::GATES.iter().find(|gate| gate.name == name) {
            Some(gate) => (gate.run)(&mut ci::Ran::default()),
            None => Err(format!("there is no task {name:?}; `cargo xtask` lists them")),
        },
        _ => {
            println!("cargo xtask ci          every gate, in this order:");
            for gate in ci::GATES {
                println!("cargo xtask {:11} {}", gate.name, gate.about);
            }
            println!("\nOther tasks, each with --help:");
            println!("cargo xtask arm-cycles  what kernels cost on ARM cores, by llvm-mca");
            println!("cargo xtask dist        archives of the commands for x86-64 and AArch64, the same bytes from the same sources");
            println!("cargo xtask header      the header of the C library, from its calls in Rust");
            println!("cargo xtask install     the library for C and C++ into a folder: headers, archives, pkg-config, CMake");
            println!("cargo xtask smollm2     a real model under QEMU as on this machine");
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
