//! The compiler and what belongs to it, called so that the same sources give the same bytes: in whatever folder, whoever builds.

use crate::shell::{command_in, quiet_output, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root, as programs are told it.
pub(crate) fn canonical_root() -> Result<PathBuf, String> {
    root().canonicalize().map_err(|e| format!("the repository's root: {e}"))
}

/// The folder of the toolchain that builds.
pub(crate) fn sysroot(root: &Path) -> Result<PathBuf, String> {
    Ok(PathBuf::from(quiet_output(&mut command_in(root, "rustc --print sysroot"))?.trim_end()))
}

/// What `rustc -vV` says of one thing.
fn about(root: &Path, key: &str) -> Result<String, String> {
    let verbose = quiet_output(&mut command_in(root, "rustc -vV"))?;
    let value = verbose.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    value.map(str::to_owned).ok_or_else(|| format!("`rustc -vV` names no {key}"))
}

/// The target of this machine.
pub(crate) fn host(root: &Path) -> Result<String, String> {
    about(root, "host")
}

/// LLVM's tools of the toolchain's own version: they know its objects, and need no package of the system's.
pub(crate) struct Tools(PathBuf);

impl Tools {
    pub(crate) fn new(root: &Path) -> Result<Self, String> {
        let folder = sysroot(root)?.join("lib/rustlib").join(host(root)?).join("bin");
        if folder.join("llvm-objcopy").exists() {
            return Ok(Self(folder));
        }
        Err(format!("there is no llvm-objcopy in {}; `rustup component add llvm-tools` installs it", folder.display()))
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        Command::new(self.0.join(name))
    }
}

/// Folders of this machine, and the names that stand for them in what is built.
pub(crate) struct Paths(Vec<(String, String)>);

impl Paths {
    pub(crate) fn new(root: &Path) -> Result<Self, String> {
        // The last that fits wins. The standard library gets the name that it has where its sources are not installed.
        let library = sysroot(root)?.join("lib/rustlib/src/rust");
        Ok(Self(vec![
            (root.display().to_string(), String::from("/kinglet")),
            (cargo_home()?.display().to_string(), String::from("/cargo")),
            (library.display().to_string(), format!("/rustc/{}", about(root, "commit-hash")?)),
        ]))
    }

    /// Fails where one of them is in what was built.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        let is_in = |path: &str| bytes.windows(path.len()).any(|window| window == path.as_bytes());
        match self.0.iter().find(|(path, _)| is_in(path)) {
            Some((path, _)) => Err(format!("the path {path} is in it")),
            None => Ok(()),
        }
    }
}

/// A command of cargo's that builds what is shipped for a target, into a folder of its own. Flags of this machine's are left out.
pub(crate) fn cargo(root: &Path, line: &str, triple: &str, folder: &Path) -> Result<Command, String> {
    let flags: Vec<String> = Paths::new(root)?.0.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
    let mut cargo = command_in(root, &format!("cargo {line} --quiet --locked --target {triple}"));
    cargo.arg("--target-dir").arg(folder);
    for variable in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WRAPPER"] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(cargo)
}

/// The linker for a target of Linux's. Rust brings that of the static ones along.
pub(crate) fn linker(triple: &str) -> &'static str {
    match triple {
        "aarch64-unknown-linux-gnu" => "aarch64-linux-gnu-gcc",
        "x86_64-unknown-linux-gnu" => "cc",
        _ => "rust-lld",
    }
}

/// Has a command of cargo's link with it.
pub(crate) fn set_linker(cargo: &mut Command, triple: &str) {
    cargo.env(format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_")), linker(triple));
}

fn cargo_home() -> Result<PathBuf, String> {
    match (std::env::var_os("CARGO_HOME"), std::env::var_os("HOME")) {
        (Some(home), _) => Ok(PathBuf::from(home)),
        (None, Some(home)) => Ok(Path::new(&home).join(".cargo")),
        (None, None) => Err(String::from("neither CARGO_HOME nor HOME says where cargo keeps its sources")),
    }
}

/// The version of a package of this repository.
pub(crate) fn version(root: &Path, package: &str) -> Result<String, String> {
    let text = quiet_output(&mut command_in(root, "cargo metadata --locked --no-deps --format-version 1"))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let found = metadata["packages"].as_array().into_iter().flatten().find(|known| known["name"] == package);
    found.and_then(|found| found["version"].as_str()).map(str::to_owned).ok_or_else(|| format!("cargo metadata: no {package}"))
}
