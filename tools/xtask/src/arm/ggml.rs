//! ggml's products beside Kinglet's: its sources are compiled for the same cores with `benches/peers/ggml_kernels.c` around them.

use super::mca::{Core, LLVM};
use super::trace::need;
use crate::shell::{command, root, run_quietly};
use std::path::{Path, PathBuf};

/// What the products need of ggml; the linker drops the rest.
const SOURCES: &[&str] =
    &["src/ggml-cpu/quants.c", "src/ggml-cpu/arch/arm/quants.c", "src/ggml-cpu/repack.cpp", "src/ggml-cpu/arch/arm/repack.cpp"];

/// Kernels that the program has.
pub(crate) const KERNELS: &[&str] = &["matmul_q4", "matmul_q8", "quantise"];

/// What ggml calls the weights of `kernel`, or the kernel where it has none.
pub(crate) fn name(kernel: &str) -> &'static str {
    match kernel {
        "matmul_q4" => "ggml Q4_0",
        "matmul_q8" => "ggml Q8_0",
        _ => "ggml quantise",
    }
}

/// Where the program for `core` is.
pub(crate) fn program(core: &Core) -> String {
    format!("target/arm-cycles/ggml-{}", core.clang)
}

/// Compiles ggml's kernels for `core`; `source` is ggml's folder.
///
/// # Errors
/// If a tool or a source is missing, or does not compile.
pub(crate) fn build(source: &Path, core: &Core) -> Result<(), String> {
    need(&format!("clang-{LLVM}"), &format!("clang-{LLVM}"))?;
    need("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")?;
    let folder = root().join("target/arm-cycles");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let files = SOURCES.iter().map(|file| source.join(file)).chain([PathBuf::from("benches/peers/ggml_kernels.c")]);
    let mut objects = Vec::new();
    for file in files {
        if !root().join(&file).is_file() {
            return Err(format!(
                "--ggml: {} is missing; expected ggml's folder, vendor/llama.cpp/ggml in llama-cpp-python",
                file.display()
            ));
        }
        let name = file.to_string_lossy().replace(['/', '.'], "-");
        let object = folder.join(format!("{}-{}.o", core.clang, name.trim_start_matches('-')));
        // The flags of ggml's release builds.
        let cpp = file.extension().is_some_and(|end| end == "cpp");
        let mut clang = compiler(core, cpp);
        clang.args(["-O3", "-DNDEBUG", "-ffunction-sections", "-fdata-sections", "-w"]).args(cpp.then_some("-std=c++17"));
        for include in ["include", "src", "src/ggml-cpu"] {
            clang.arg("-I").arg(source.join(include));
        }
        run_quietly(clang.arg("-c").arg(&file).arg("-o").arg(&object))?;
        objects.push(object);
    }
    run_quietly(compiler(core, true).args(["-static", "-Wl,--gc-sections"]).args(objects).arg("-o").arg(program(core)))
}

fn compiler(core: &Core, cpp: bool) -> std::process::Command {
    command(&format!("clang{}-{LLVM} --target=aarch64-linux-gnu -mcpu={}", if cpp { "++" } else { "" }, core.clang))
}
