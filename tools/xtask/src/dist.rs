//! `cargo xtask dist`: archives of the two commands, and of the library for C and C++, for those who do not build them.
//!
//! The same sources with the same toolchain and linkers give the same bytes, whoever builds them and in whatever folder: paths are
//! mapped to fixed names, times are the commit's, entries are sorted and belong to nobody. `--check` builds a second
//! time in a copy of the sources at another path and compares.

use crate::archive::{self, Entry};
use crate::capi;
use crate::elf::Elf;
use crate::notices::{self, Parts};
use crate::shell::{command_in, quiet_output, run_quietly, works};
use crate::toolchain::{self, Paths, canonical_root, sysroot};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A target that the commands are made for.
struct Target {
    triple: &'static str,
    is_static: bool,
}

const TARGETS: [Target; 4] = [
    Target { triple: "aarch64-unknown-linux-gnu", is_static: false },
    Target { triple: "aarch64-unknown-linux-musl", is_static: true },
    Target { triple: "x86_64-unknown-linux-gnu", is_static: false },
    Target { triple: "x86_64-unknown-linux-musl", is_static: true },
];

/// The programs of an archive.
const PROGRAMS: [&str; 2] = ["kinglet", "quantize"];
/// What lies beside them, from the repository's root.
pub(crate) const TEXTS: [&str; 4] = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];
const SUMS: &str = "SHA256SUMS";

pub(crate) const USAGE: &str = "\
usage: cargo xtask dist [--check] [TARGET...]

Makes, in target/dist, kinglet-VERSION-TARGET.tar.gz with the commands, kinglet-c-VERSION-TARGET.tar.gz with the library for C and
C++, and SHA256SUMS. Without a target: for all of
  aarch64-unknown-linux-gnu    dynamic; needs aarch64-linux-gnu-gcc, and is left out, with a word, where that is missing
  aarch64-unknown-linux-musl   static
  x86_64-unknown-linux-gnu     dynamic; needs cc
  x86_64-unknown-linux-musl    static
  aarch64-unknown-none         the library alone, as for the next two
  thumbv7em-none-eabihf
  thumbv8m.main-none-eabihf

The times in the archives are SOURCE_DATE_EPOCH, or else the date of the last commit.

  --check    build again in a copy of the sources in another folder, and compare the bytes";

/// What archives are made of.
struct Order {
    programs: Vec<&'static Target>,
    libraries: Vec<&'static capi::Target>,
}

impl Order {
    /// Both, for the targets that are wanted.
    fn of(is_wanted: impl Fn(&str) -> bool) -> Self {
        Self {
            programs: TARGETS.iter().filter(|target| is_wanted(target.triple)).collect(),
            libraries: capi::TARGETS.iter().filter(|target| is_wanted(target.triple)).collect(),
        }
    }
}

/// The command, from its arguments.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    let is_checked = arguments.iter().any(|a| a == "--check");
    let named: Vec<&str> = arguments.iter().filter(|a| *a != "--check").map(String::as_str).collect();
    if named.contains(&"--help") {
        println!("{USAGE}");
        return Ok(());
    }
    if let Some(unknown) = named.iter().find(|name| !capi::TARGETS.iter().any(|target| target.triple == **name)) {
        return Err(format!("there is no target {unknown:?}\n{USAGE}"));
    }
    const CROSS: &str = "aarch64-unknown-linux-gnu";
    let is_left_out = named.is_empty() && !works(&format!("{} --version", toolchain::linker(CROSS)));
    let order = Order::of(|triple| if named.is_empty() { !(is_left_out && triple == CROSS) } else { named.contains(&triple) });
    make(&order, is_checked.then_some(&order))?;
    if is_left_out {
        println!("left out: {CROSS}: there is no {}", toolchain::linker(CROSS));
    }
    Ok(())
}

/// The gate of CI: what needs no library of this machine's; the programs for one target once more elsewhere, and the library for another.
pub(crate) fn gate() -> Result<(), String> {
    let is_static = |triple: &str| !triple.ends_with("-gnu");
    let programs = Order::of(|triple| triple == "aarch64-unknown-linux-musl").programs;
    let libraries = Order::of(|triple| triple == "thumbv8m.main-none-eabihf").libraries;
    make(&Order::of(is_static), Some(&Order { programs, libraries }))
}

/// Where the programs of a target are.
pub(crate) struct Programs {
    pub(crate) kinglet: PathBuf,
    pub(crate) quantize: PathBuf,
}

/// The programs of a target, built as they are shipped.
pub(crate) fn programs(triple: &str) -> Result<Programs, String> {
    let root = canonical_root()?;
    let target = TARGETS.iter().find(|target| target.triple == triple).ok_or_else(|| format!("{triple} is not shipped"))?;
    build_programs(&root, target)?;
    let place = |program| built(&root, target, program);
    Ok(Programs { kinglet: place("kinglet"), quantize: place("quantize") })
}

/// Makes the archives of an order, and those of `again` a second time in another folder.
fn make(order: &Order, again: Option<&Order>) -> Result<(), String> {
    let root = canonical_root()?;
    let time = time(&root)?;
    let archives = pack_all(&root, order, time)?;
    let sums: String = archives.iter().map(|archive| format!("{}  {}\n", hex(&Sha256::digest(&archive.bytes)), archive.name)).collect();
    let out = root.join("target/dist");
    for (name, bytes) in archives.iter().map(|a| (a.name.as_str(), a.bytes.as_slice())).chain([(SUMS, sums.as_bytes())]) {
        let path = out.join(name);
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    for archive in &archives {
        println!("target/dist/{}: {} bytes; {}", archive.name, archive.bytes.len(), archive.about);
    }
    print!("{sums}");
    let Some(again) = again else { return Ok(()) };
    let temporary = tempfile::Builder::new().prefix("kinglet-dist-").tempdir().map_err(|e| format!("a temporary folder: {e}"))?;
    let copy = temporary.path().join("some/other/folder");
    copy_sources(&root, &copy)?;
    let second = pack_all(&copy, again, time)?;
    let first = second.iter().map(|b| archives.iter().find(|a| a.name == b.name));
    let differences: Vec<String> = first.zip(&second).filter_map(|(a, b)| archive::difference(a?, b)).collect();
    if !differences.is_empty() {
        return Err(format!("a build in {} gave other bytes:\n{}", copy.display(), differences.join("\n")));
    }
    let names: Vec<&str> = second.iter().map(|archive| archive.name.as_str()).collect();
    println!("a build in {} gave the same bytes: {}", copy.display(), names.join(", "));
    Ok(())
}

/// An archive in memory.
pub(crate) struct Archive {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
    about: String,
}

impl Archive {
    #[cfg(test)]
    pub(crate) fn new(name: &str, bytes: Vec<u8>, entries: Vec<Entry>) -> Self {
        Self { name: name.to_owned(), bytes, entries, about: String::new() }
    }
}

fn pack_all(root: &Path, order: &Order, time: u64) -> Result<Vec<Archive>, String> {
    let mut archives = order.programs.iter().map(|target| pack_programs(root, target, time)).collect::<Result<Vec<_>, _>>()?;
    capi::build(root, &order.libraries)?;
    for target in &order.libraries {
        let name = format!("kinglet-c-{}-{}", toolchain::version(root, "kinglet-capi")?, target.triple);
        archives.push(pack(&name, capi::entries(root, target)?, time, capi::about(root, target)?)?);
    }
    Ok(archives)
}

/// The archive of files that lie in one folder, which has its name.
fn pack(folder: &str, mut entries: Vec<Entry>, time: u64, about: String) -> Result<Archive, String> {
    let name = format!("{folder}.tar.gz");
    for entry in &mut entries {
        entry.path = format!("{folder}/{}", entry.path);
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let bytes = archive::tar_gz(&entries, time).map_err(|e| format!("{name}: {e}"))?;
    Ok(Archive { name, bytes, entries, about })
}

fn build_folder(root: &Path) -> PathBuf {
    root.join("target/dist/build")
}

fn built(root: &Path, target: &Target, program: &str) -> PathBuf {
    build_folder(root).join(target.triple).join("dist").join(program)
}

/// Builds the programs for a target.
fn build_programs(root: &Path, target: &Target) -> Result<(), String> {
    let triple = target.triple;
    let mut cargo = toolchain::cargo(root, "build --profile dist -p kinglet-tools", triple, &build_folder(root))?;
    for program in PROGRAMS {
        cargo.args(["--bin", program]);
    }
    toolchain::set_linker(&mut cargo, triple);
    eprintln!("building for {triple} in {}", root.display());
    run_quietly(&mut cargo)
}

/// Builds the programs for a target and packs them.
fn pack_programs(root: &Path, target: &Target, time: u64) -> Result<Archive, String> {
    let triple = target.triple;
    build_programs(root, target)?;
    let paths = Paths::new(root)?;
    let mut entries = Vec::new();
    let mut abouts = Vec::new();
    for program in PROGRAMS {
        let path = built(root, target, program);
        let bytes = read(&path)?;
        abouts.push(examine(&bytes, target, &paths).map_err(|e| format!("{}: {e}", path.display()))?);
        entries.push(Entry::file(program, 0o755, bytes));
    }
    abouts.dedup();
    for text in TEXTS {
        entries.push(Entry::file(text, 0o644, read(&root.join(text))?));
    }
    let parts = if target.is_static { Parts::Program } else { Parts::None };
    let notices = notices::files(root, triple, &["kinglet-tools"], parts, &sysroot(root)?)?;
    entries.extend(notices.into_iter().map(|(name, text)| Entry::file(name, 0o644, text)));
    pack(&format!("kinglet-{}-{triple}", toolchain::version(root, "kinglet-tools")?), entries, time, abouts.join("; "))
}

/// What a program needs of the machine; fails where it is not what the archive's name says, or names a folder of this machine.
fn examine(bytes: &[u8], target: &Target, paths: &Paths) -> Result<String, String> {
    let elf = Elf::parse(bytes)?;
    let machine = target.triple.split('-').next().unwrap_or_default();
    if elf.machine != machine {
        return Err(format!("expected a program for {machine}, got {}", elf.machine));
    }
    paths.check(bytes)?;
    match (&elf.interpreter, elf.needed.is_empty(), target.is_static) {
        (None, true, true) => Ok(String::from("static, needs no library")),
        (Some(interpreter), false, false) => Ok(format!("{interpreter}, {}", elf.needs())),
        _ => Err(format!(
            "expected a {} program, got interpreter {:?} and libraries {:?}",
            if target.is_static { "static" } else { "dynamic" },
            elf.interpreter,
            elf.needed
        )),
    }
}

/// Seconds since 1970 that the archives say.
fn time(root: &Path) -> Result<u64, String> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => quiet_output(&mut command_in(root, "git log -1 --format=%ct"))
            .map_err(|e| format!("{e}\nwithout a commit's date, SOURCE_DATE_EPOCH must say the time of the archives"))?,
    };
    text.trim().parse().map_err(|_| format!("SOURCE_DATE_EPOCH: expected seconds since 1970, got {text:?}"))
}

/// Copies what git tracks or would, as it is now.
fn copy_sources(root: &Path, to: &Path) -> Result<(), String> {
    let list = quiet_output(&mut command_in(root, "git ls-files -z --cached --others --exclude-standard"))?;
    for name in list.split_terminator('\0') {
        let (from, to) = (root.join(name), to.join(name));
        // A file that was removed and not yet committed so.
        if !from.exists() {
            continue;
        }
        let folder = to.parent().ok_or("a file without a folder")?;
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        std::fs::copy(&from, &to).map_err(|e| format!("{}: {e}", to.display()))?;
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
