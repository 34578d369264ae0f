//! Compilers for C and C++, and what they say of the headers.

use crate::arm::LLVM;
use crate::shell::{capture, command, command_in, feed, root};
use std::path::Path;

/// Standards that the headers are compiled with.
const C: [&str; 3] = ["c99", "c11", "c17"];
const CPP: [&str; 2] = ["c++17", "c++20"];

/// A program without a system, for a machine whose compilers make enumerations as small as they can.
const SHORT_ENUMS: &str = "--target=thumbv8m.main-none-eabi -mcpu=cortex-m33 -ffreestanding -fshort-enums";

/// Included twice; and enumerations are as large as Rust's, and structs of the size that their field tells.
const SOURCE: &str = "\
#include <HEADER>
#include <HEADER>
typedef char kgl_test_status[sizeof(kgl_status) == 4 ? 1 : -1];
typedef char kgl_test_isa[sizeof(kgl_isa) == 4 ? 1 : -1];
typedef char kgl_test_info[sizeof(((kgl_session_info *)0)->isa) == 4 ? 1 : -1];
int kgl_test(void);
int kgl_test(void) { return KGL_VERSION + (int)KGL_OK; }
";

/// Debian's musl for AArch64 has no wrapper of a compiler, but this, which such a wrapper would hand to GCC.
pub(crate) const AARCH64_MUSL_SPECS: &str = "/usr/lib/aarch64-linux-musl/musl-gcc.specs";

/// The second compiler, besides GCC.
pub(crate) fn clang() -> String {
    format!("clang-{LLVM}")
}

/// Compiles the headers in a folder with every compiler, as every standard, without a warning.
pub(crate) fn check(include: &Path) -> Result<(), String> {
    let clang = clang();
    let cpp = |name: &str| name.replace("gcc", "g++");
    let mut count = 0;
    for compiler in ["gcc", "aarch64-linux-gnu-gcc", &clang] {
        for standard in C {
            compile(&format!("{compiler} -x c -std={standard}"), include, "kinglet.h")?;
        }
        for standard in CPP {
            for header in ["kinglet.h", "kinglet.hpp"].into_iter().filter(|header| include.join(header).exists()) {
                compile(&format!("{} -x c++ -std={standard}", cpp(compiler)), include, header)?;
                count += 1;
            }
        }
        count += C.len();
    }
    compile(&format!("{clang} -x c -std=c99 {SHORT_ENUMS}"), include, "kinglet.h")?;
    println!(
        "the headers compile without a warning, {} times: {}, {}, and with short enumerations",
        count + 1,
        C.join(", "),
        CPP.join(", ")
    );
    Ok(())
}

fn compile(line: &str, include: &Path, header: &str) -> Result<(), String> {
    let mut compiler = command(&format!("{line} -Wall -Wextra -pedantic -Werror -c -o /dev/null"));
    feed(compiler.arg("-I").arg(include).arg("-"), &SOURCE.replace("HEADER", header)).map(drop)
}

/// Compiles and links one source of tests/capi for a target, with flags behind it, and runs the program.
pub(crate) fn run(triple: &str, source: &str, flags: &str, is_static: bool, to: &Path, arguments: &[&str]) -> Result<String, String> {
    let (compiler, runner) = for_target(triple, is_static);
    let mut cc = command_in(&root(), &compiler);
    cc.args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]).args(is_static.then_some("-static")).arg("-o").arg(to);
    capture(cc.arg(Path::new("tests/capi").join(source)).args(flags.split_whitespace()))?.success()?;
    let mut program = command_in(&root(), &format!("{runner} {}", to.display()));
    capture(program.args(arguments))?.success()
}

/// The compiler for a target, and what its programs run under.
pub(crate) fn for_target(triple: &str, is_static: bool) -> (String, &'static str) {
    let (compiler, runner) = match triple {
        "aarch64-unknown-linux-gnu" if is_static => ("aarch64-linux-gnu-gcc", "qemu-aarch64"),
        "aarch64-unknown-linux-gnu" => ("aarch64-linux-gnu-gcc", "qemu-aarch64 -L /usr/aarch64-linux-gnu"),
        "aarch64-unknown-linux-musl" => return (format!("aarch64-linux-gnu-gcc -specs {AARCH64_MUSL_SPECS}"), "qemu-aarch64"),
        "x86_64-unknown-linux-musl" => ("musl-gcc", ""),
        _ => ("gcc", ""),
    };
    (compiler.to_owned(), runner)
}
