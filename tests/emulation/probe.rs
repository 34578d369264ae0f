//! Executes one instruction of an instruction set and says so: where the CPU does not have it, this must die of it, or an emulated
//! CPU proves nothing.
//!
//! Compiled by the gate `isa` for AArch64: `rustc --target aarch64-unknown-linux-musl -C linker=rust-lld probe.rs`.

use core::arch::asm;

fn main() {
    let isa = std::env::args().nth(1).unwrap_or_default();
    // SAFETY: the vector registers that are written are named, and nothing else is touched. A CPU without the instruction ends
    // the process, which is what is asked.
    unsafe {
        match isa.as_str() {
            "neon" => asm!("add v0.4s, v1.4s, v2.4s", out("v0") _),
            "dotprod" => asm!(".arch_extension dotprod", "sdot v0.4s, v1.16b, v2.16b", out("v0") _),
            "i8mm" => asm!(".arch_extension i8mm", "smmla v0.4s, v1.16b, v2.16b", out("v0") _),
            other => {
                eprintln!("probe: expected neon, dotprod or i8mm, got {other:?}");
                std::process::exit(2);
            }
        }
    }
    println!("{isa} ran");
}
