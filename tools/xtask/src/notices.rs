//! The licences of what the programs and libraries are made of, from the packages themselves.
//!
//! Nothing here knows a crate by name: cargo says which crates are linked, and each crate's folder has its licence.

use crate::shell::{command_in, quiet_output};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Beginnings of the names that files with licences have, in upper case.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

const RULE: &str = "================================================================================";

/// What is linked besides crates and Rust's standard library.
#[derive(Clone, Copy)]
pub(crate) enum Parts {
    None,
    /// The C library, the unwinder and the start files of a static program, which Rust brings along.
    Program,
    /// The unwinder alone.
    Unwinder,
}

/// Files with the notices for what is built for `triple` from a package, whose name flags of cargo's may follow: names and contents.
pub(crate) fn files(
    root: &Path,
    triple: &str,
    package: &[&str],
    parts: Parts,
    sysroot: &Path,
) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let packages = linked(root, triple, package)?;
    // What the toolchain says of the library that it links into every program.
    let library = sysroot.join("share/doc/rust/COPYRIGHT-library.html");
    let library = std::fs::read(&library).map_err(|e| format!("{}: {e}", library.display()))?;
    let mut text = third_party(&packages)?;
    text.push_str(&linked_parts(parts, &sysroot.join("share/doc/rust/licenses"))?);
    Ok(vec![("THIRD-PARTY.txt", text.into_bytes()), ("THIRD-PARTY-RUST-STD.html", library)])
}

/// A crate that is linked.
struct Package {
    name: String,
    version: String,
    licence: String,
    source: String,
    folder: PathBuf,
    /// Where the manifest names one file.
    licence_file: Option<String>,
}

/// The crates that a package for `triple` is linked from, this repository's left out. What runs at build time only is
/// not among them.
fn linked(root: &Path, triple: &str, package: &[&str]) -> Result<Vec<Package>, String> {
    let package = package.join(" ");
    let tree = format!("cargo tree --locked -p {package} -e normal,no-proc-macro --target {triple} --prefix none -f {{p}}");
    let tree = quiet_output(&mut command_in(root, &tree))?;
    // A line is `name vVERSION`, with a path or a mark behind.
    let words = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    let names: BTreeSet<(String, String)> = tree.lines().filter_map(words).collect();
    let metadata = format!("cargo metadata --locked --format-version 1 --filter-platform {triple}");
    let metadata: Value =
        serde_json::from_str(&quiet_output(&mut command_in(root, &metadata))?).map_err(|e| format!("cargo metadata: {e}"))?;
    let mut packages = Vec::new();
    for (name, version) in names {
        let all = metadata["packages"].as_array().into_iter().flatten();
        let package = all.into_iter().find(|p| p["name"] == name.as_str() && p["version"] == version.as_str());
        let package = package.ok_or_else(|| format!("cargo metadata does not know {name} {version}"))?;
        if package["source"].is_null() {
            continue;
        }
        let field = |key: &str| package[key].as_str().map(str::to_owned);
        let manifest = field("manifest_path").ok_or_else(|| format!("{name} {version}: no manifest_path"))?;
        packages.push(Package {
            licence: field("license").or_else(|| field("license_file")).ok_or_else(|| format!("{name} {version} has no licence"))?,
            source: field("repository").unwrap_or_else(|| format!("https://crates.io/crates/{name}")),
            folder: Path::new(&manifest).parent().ok_or("a manifest without a folder")?.to_owned(),
            licence_file: field("license_file"),
            name,
            version,
        });
    }
    if packages.is_empty() {
        return Err(format!("`cargo tree` names no crate:\n{tree}"));
    }
    Ok(packages)
}

/// The list of crates, and every text once with those it belongs to.
fn third_party(packages: &[Package]) -> Result<String, String> {
    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let name = format!("{} {}", package.name, package.version);
        list += &format!("{name}\n    {}\n    {}\n", package.licence, package.source);
        let files = licence_files(package)?;
        if files.is_empty() {
            return Err(format!("{name}: no licence in {}", package.folder.display()));
        }
        for file in files {
            let text = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let text = String::from_utf8_lossy(&text).replace('\r', "");
            let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            texts.entry(text.trim().to_owned()).or_default().push(format!("{name} ({file})"));
        }
    }
    let mut out = format!(
        "What lies beside this file is linked from Kinglet, from the crates below, and from Rust's standard library, whose\n\
         notices are in THIRD-PARTY-RUST-STD.html. Where a crate offers several licences, any of them may be chosen.\n\n{list}"
    );
    // In the order of the crates.
    let mut texts: Vec<(Vec<String>, String)> = texts.into_iter().map(|(text, owners)| (owners, text)).collect();
    texts.sort();
    for (owners, text) in texts {
        out += &format!("\n{RULE}\n{}\n{RULE}\n\n{text}\n", owners.join("\n"));
    }
    Ok(out)
}

/// The files of a crate that hold its licences, sorted.
fn licence_files(package: &Package) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(&package.folder).map_err(|e| format!("{}: {e}", package.folder.display()))?;
    let mut files = BTreeSet::new();
    for entry in entries {
        let path = entry.map_err(|e| format!("{}: {e}", package.folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            files.insert(path);
        }
    }
    files.extend(package.licence_file.as_ref().map(|file| package.folder.join(file)));
    Ok(files.into_iter().collect())
}

/// The toolchain has the texts of the licences and does not say whose they are.
fn linked_parts(parts: Parts, licences: &Path) -> Result<String, String> {
    const MUSL: (&str, &[&str]) = ("musl libc, https://musl.libc.org\nCopyright (c) 2005-2020 Rich Felker, et al.\nMIT", &["MIT.txt"]);
    const UNWINDER: (&str, &[&str]) =
        ("libunwind of the LLVM project, https://llvm.org\nApache-2.0 WITH LLVM-exception", &["Apache-2.0.txt", "LLVM-exception.txt"]);
    const START: (&str, &[&str]) = (
        "crtbegin.o and crtend.o of GCC, https://gcc.gnu.org\nGPL-3.0-or-later WITH GCC-exception-3.1, which lets programs be under any terms",
        &["GCC-exception-3.1.txt"],
    );
    let read = |name: &str| {
        let path = licences.join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let all: &[(&str, &[&str])] = match parts {
        Parts::None => &[],
        Parts::Program => &[MUSL, UNWINDER, START],
        Parts::Unwinder => &[UNWINDER],
    };
    let mut out = String::new();
    for (what, files) in all {
        out += &format!("\n{RULE}\n{what}\n{RULE}\n");
        for file in *files {
            out += &format!("\n{}\n", read(file)?.trim());
        }
    }
    Ok(out)
}
