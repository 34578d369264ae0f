//! The library's files: built by cargo, and the archives then made one object of, which shows nothing but the functions of the header.
//!
//! A static library of Rust's is thousands of objects with every symbol of the standard library global: it collides with another
//! one in the same program, and hides what it needs from outside. So
//!
//! 1. the linker that comes with Rust takes from it what the header's functions reach, and makes one object with a section for each
//!    function still, so that the program's own linker leaves out what the program does not call;
//! 2. every symbol but these functions becomes local;
//! 3. debugging information goes, and the object is put into an archive without times and owners.

use super::header;
use super::symbols::{self, Symbol};
use crate::elf::Elf;
use crate::shell::{command_in, in_parallel, quiet_output, run_quietly};
use crate::toolchain::{self, Paths, Tools, sysroot};
use std::path::{Path, PathBuf};

/// The system below a library.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// Linux with glibc.
    Glibc,
    /// Linux with musl.
    Musl,
    /// None.
    Bare,
}

/// A target that the library is made for.
pub(crate) struct Target {
    pub(crate) triple: &'static str,
    pub(crate) system: System,
}

impl Target {
    /// As in the first word of its name.
    pub(crate) fn machine(&self) -> &'static str {
        self.triple.split('-').next().unwrap_or_default()
    }

    pub(crate) fn is_bare(&self) -> bool {
        self.system == System::Bare
    }

    /// Whether it has little memory.
    fn is_small(&self) -> bool {
        self.triple.starts_with("thumb")
    }

    /// How cargo builds a flavour for it.
    fn profile(&self, flavour: Flavour) -> &'static str {
        match flavour {
            Flavour::Std => "library",
            Flavour::Core if self.is_small() => "firmware",
            Flavour::Core => "library-core",
        }
    }

    pub(crate) fn flavours(&self) -> &'static [Flavour] {
        if self.is_bare() { &[Flavour::Core] } else { &[Flavour::Std, Flavour::Core] }
    }

    pub(crate) fn has_shared(&self) -> bool {
        self.system == System::Glibc
    }
}

/// Every target, those of Linux first.
pub(crate) const TARGETS: [Target; 7] = [
    Target { triple: "aarch64-unknown-linux-gnu", system: System::Glibc },
    Target { triple: "aarch64-unknown-linux-musl", system: System::Musl },
    Target { triple: "x86_64-unknown-linux-gnu", system: System::Glibc },
    Target { triple: "x86_64-unknown-linux-musl", system: System::Musl },
    Target { triple: "aarch64-unknown-none", system: System::Bare },
    Target { triple: "thumbv7em-none-eabihf", system: System::Bare },
    Target { triple: "thumbv8m.main-none-eabihf", system: System::Bare },
];

/// What the library is built with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Files, threads, memory of the system's. A panic is caught at the border, so there is a table for unwinding.
    Std,
    /// None of these. A panic is a trap.
    Core,
}

impl Flavour {
    /// The name by which a linker looks for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Std => "kinglet",
            Self::Core => "kinglet_core",
        }
    }

    pub(crate) fn file(self) -> String {
        format!("lib{}.a", self.name())
    }

    /// Flags of cargo's that choose it.
    pub(crate) fn features(self) -> &'static str {
        match self {
            Self::Std => "",
            Self::Core => "--no-default-features",
        }
    }

    /// The file in runtime/capi/symbols with what it may need from outside.
    fn list(self, system: System) -> &'static str {
        match (self, system) {
            (Self::Std, System::Musl) => "std-musl",
            (Self::Std, _) => "std-glibc",
            (Self::Core, System::Bare) => "core-bare",
            (Self::Core, _) => "core-linux",
        }
    }
}

/// The three names of the shared library: the file's, the one that programs ask for, the one that linkers look for.
pub(crate) fn shared_names(version: &str) -> [String; 3] {
    // What keeps its structs and calls: a major version, and before the first of them a minor one.
    let words = if version.starts_with("0.") { 2 } else { 1 };
    let same: Vec<&str> = version.split('.').take(words).collect();
    [format!("libkinglet.so.{version}"), format!("libkinglet.so.{}", same.join(".")), String::from("libkinglet.so")]
}

/// Builds every file of some targets.
pub(crate) fn build(root: &Path, targets: &[&'static Target]) -> Result<(), String> {
    // A build is one program at work most of the time, and two wait for each other where they share a folder; so each has its own.
    let flavours = |target: &&'static Target| target.flavours().iter().map(|flavour| (*target, *flavour)).collect::<Vec<_>>();
    let all: Vec<(&Target, Flavour)> = targets.iter().flat_map(flavours).collect();
    in_parallel(&all, |(target, flavour)| {
        compile(root, target, *flavour)?;
        merge(root, target, *flavour).map_err(|e| format!("{} for {}: {e}", flavour.file(), target.triple))
    })?;
    targets.iter().try_for_each(|target| link_shared(root, target))
}

/// Has cargo make the static library of a flavour.
fn compile(root: &Path, target: &Target, flavour: Flavour) -> Result<(), String> {
    eprintln!("building {} for {} in {}", flavour.file(), target.triple, root.display());
    let (profile, features) = (target.profile(flavour), flavour.features());
    let line = format!("rustc -p kinglet-capi --lib --crate-type staticlib --profile {profile} {features}");
    run_quietly(&mut toolchain::cargo(root, &line, target.triple, &build_folder(root, target, flavour))?)
}

fn build_folder(root: &Path, target: &Target, flavour: Flavour) -> PathBuf {
    merged_folder(root, target).join(target.profile(flavour))
}

/// Links the shared library, where the target has one, from the object of the static one: it shows the same functions, and the code is the same.
fn link_shared(root: &Path, target: &Target) -> Result<(), String> {
    if !target.has_shared() {
        return Ok(());
    }
    let [_, soname, _] = shared_names(&toolchain::version(root, "kinglet-capi")?);
    let mut link = command_in(root, toolchain::linker(target.triple));
    link.args(["-shared", "-Wl,--no-undefined", "-Wl,--gc-sections", "-Wl,-z,relro,-z,now", "-Wl,--as-needed"]);
    link.arg(format!("-Wl,-soname,{soname}")).arg("-o").arg(shared(root, target)).arg(object(root, target, Flavour::Std));
    run_quietly(link.args(["-lpthread", "-ldl"])).map_err(|e| format!("{soname} for {}: {e}", target.triple))
}

fn merged_folder(root: &Path, target: &Target) -> PathBuf {
    root.join("target/dist/c").join(target.triple)
}

/// The archive of a flavour.
pub(crate) fn archive(root: &Path, target: &Target, flavour: Flavour) -> PathBuf {
    merged_folder(root, target).join(flavour.file())
}

/// What is in it.
fn object(root: &Path, target: &Target, flavour: Flavour) -> PathBuf {
    archive(root, target, flavour).with_extension("o")
}

/// The shared library.
pub(crate) fn shared(root: &Path, target: &Target) -> PathBuf {
    merged_folder(root, target).join("libkinglet.so")
}

/// Makes the archive of a flavour from what cargo built.
fn merge(root: &Path, target: &Target, flavour: Flavour) -> Result<(), String> {
    let built = build_folder(root, target, flavour).join(target.triple).join(target.profile(flavour)).join("libkinglet_capi.a");
    let functions: Vec<String> = header::functions(&header::read(root)?).into_iter().collect();
    let folder = merged_folder(root, target);
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    one_object(root, target, flavour, &built, &functions, &archive(root, target, flavour))
}

/// Makes of a static library of Rust's an archive of one object with `functions` alone to be seen.
pub(crate) fn one_object(
    root: &Path,
    target: &Target,
    flavour: Flavour,
    from: &Path,
    functions: &[String],
    to: &Path,
) -> Result<(), String> {
    let tools = Tools::new(root)?;
    let object = to.with_extension("o");
    let mut link = tools.command("rust-lld");
    // A group is a section that linkers take once from all objects, by a name; here the name becomes local, so there must be none.
    link.args(["-flavor", "gnu", "-r", "--force-group-allocation"]);
    if flavour == Flavour::Core {
        // Takes the tables for unwinding along, which nothing names: without them no panic is caught, so with `std` it must not be.
        link.arg("--gc-sections");
    }
    for function in functions {
        link.args(["-u", function]);
    }
    link.arg("-o").arg(&object).arg(from);
    if (flavour, target.system) == (Flavour::Std, System::Musl) {
        // The unwinder that Rust brings along. That of GCC, made for glibc, asks for more than musl has.
        link.arg(sysroot(root)?.join("lib/rustlib").join(target.triple).join("lib/self-contained/libunwind.a"));
    }
    run_quietly(&mut link)?;
    let mut hide = tools.command("llvm-objcopy");
    hide.args(["--strip-debug", "--remove-section=.llvmbc", "--remove-section=.llvmcmd", "--wildcard", "--keep-global-symbol=kgl_*"]);
    run_quietly(hide.arg(&object))?;
    // It would add to an archive that is there.
    let _ = std::fs::remove_file(to);
    run_quietly(tools.command("llvm-ar").arg("rcsD").arg(to).arg(&object))
}

/// What is wrong with an archive: symbols, or a path of this machine. Nothing, mostly.
pub(crate) fn examine(root: &Path, target: &Target, flavour: Flavour) -> Result<(), String> {
    let path = archive(root, target, flavour);
    let failed = |e: String| format!("{} for {}: {e}", flavour.file(), target.triple);
    Paths::new(root)?.check(&std::fs::read(&path).map_err(|e| failed(e.to_string()))?).map_err(failed)?;
    let symbols = symbols(root, &path, &[])?;
    let expected = header::functions(&header::read(root)?);
    symbols::compare("defined", "the header", &expected, &symbols::defined(&symbols)).map_err(failed)?;
    let list = flavour.list(target.system);
    let expected = symbols::allowed(root, list, target.machine())?;
    let list = format!("runtime/capi/symbols/{list}.txt");
    symbols::compare("needed from outside", &list, &expected, &symbols::needed(&symbols)).map_err(failed)
}

/// The symbols that others see.
pub(crate) fn symbols(root: &Path, file: &Path, options: &[&str]) -> Result<Vec<Symbol>, String> {
    let mut nm = Tools::new(root)?.command("llvm-nm");
    symbols::parse(&quiet_output(nm.args(["--extern-only", "--format=posix"]).args(options).arg(file))?)
}

/// What a shared library needs of the machine; fails where it shows other symbols than the header's functions, has another name, or a
/// path of this machine.
pub(crate) fn examine_shared(root: &Path, target: &Target, soname: &str) -> Result<String, String> {
    let path = shared(root, target);
    let failed = |e: String| format!("{soname} for {}: {e}", target.triple);
    let bytes = std::fs::read(&path).map_err(|e| failed(e.to_string()))?;
    Paths::new(root)?.check(&bytes).map_err(failed)?;
    let elf = Elf::parse(&bytes).map_err(failed)?;
    if (elf.machine, elf.soname.as_deref()) != (target.machine(), Some(soname)) {
        return Err(failed(format!("it is {:?} for {}", elf.soname, elf.machine)));
    }
    let expected = header::functions(&header::read(root)?);
    let symbols = symbols(root, &path, &["--dynamic"])?;
    symbols::compare("defined", "the header", &expected, &symbols::defined(&symbols)).map_err(failed)?;
    Ok(elf.needs())
}
