//! The gate `capi`, step by step.

use super::library::{self, Flavour, TARGETS, Target};
use super::{compilers, header, install, package};
use crate::ci::intrinsics_left_out_of_line;
use crate::shell::{capture, command_in, quiet_output, run_quietly};
use crate::toolchain::{Tools, canonical_root};
use std::path::{Path, PathBuf};

/// A step: its name and what it does. Those after `packages` find every target's package in a folder of its own.
type Step = (&'static str, fn(&Place) -> Result<(), String>);

const STEPS: [Step; 7] = [
    ("header", |_| header::check()),
    ("packages", packages),
    ("compilers", |place| compilers::check(&place.prefix(&TARGETS[0]).join("include"))),
    ("sizes", sizes),
    ("intrinsics", intrinsics),
    ("panics", panics),
    ("links", links),
];

/// Bytes of code and constants that the library may have where flash is least.
const LIMITS: [(&str, usize); 1] = [("thumbv8m.main-none-eabihf", 160 * 1024)];

/// Where everything is.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
}

impl Place {
    /// Where the package of a target is installed.
    pub(crate) fn prefix(&self, target: &Target) -> PathBuf {
        self.root.join("target/capi").join(target.triple)
    }

    /// A program or an object that a step makes.
    fn scratch(&self, target: &Target, name: &str) -> PathBuf {
        self.root.join("target/capi").join(format!("{}-{name}", target.triple))
    }
}

/// The gate.
pub(crate) fn gate() -> Result<(), String> {
    let place = Place { root: canonical_root()? };
    STEPS.iter().try_for_each(|(name, step)| step(&place).map_err(|e| format!("{name}: {e}")))
}

/// Builds every package, which compares symbols with the header and with the lists, and installs it.
fn packages(place: &Place) -> Result<(), String> {
    let targets: Vec<&Target> = TARGETS.iter().collect();
    library::build(&place.root, &targets)?;
    for target in targets {
        install::install(&place.root, target, &place.prefix(target))?;
    }
    println!("{} packages define what kinglet.h declares, and need from outside what runtime/capi/symbols lists", TARGETS.len());
    Ok(())
}

/// What the library takes of a bare machine's memory: all of it, and what is left when a program calls one function.
fn sizes(place: &Place) -> Result<(), String> {
    let tools = Tools::new(&place.root)?;
    println!("{:28} {:>16} {:>16} {:>20}", "libkinglet_core.a", "code, constants", "limit", "kgl_version() alone");
    let mut beyond = Vec::new();
    for target in TARGETS.iter().filter(|target| target.is_bare()) {
        let archive = library::archive(&place.root, target, Flavour::Core);
        let bytes = size(&tools, &archive)?;
        let program = place.scratch(target, "one");
        let mut link = tools.command("rust-lld");
        link.args(["-flavor", "gnu", "--gc-sections", "-e", "kgl_version", "-o"]).arg(&program).arg(&archive);
        run_quietly(&mut link)?;
        let alone = size(&tools, &program)?;
        let limit = LIMITS.iter().find(|(triple, _)| *triple == target.triple).map(|(_, limit)| *limit);
        println!("{:28} {bytes:>16} {:>16} {alone:>20}", target.triple, limit.map_or_else(String::new, |limit| limit.to_string()));
        if limit.is_some_and(|limit| bytes >= limit) {
            beyond.push(format!("{} has {bytes} bytes", target.triple));
        }
        if alone > 1024 {
            beyond.push(format!("{alone} bytes of {} come with kgl_version() alone: its sections are not apart", target.triple));
        }
    }
    if beyond.is_empty() { Ok(()) } else { Err(beyond.join("; ")) }
}

/// Bytes of code, constants and data.
fn size(tools: &Tools, file: &Path) -> Result<usize, String> {
    let text = quiet_output(tools.command("llvm-size").arg("--totals").arg(file))?;
    loaded(&text).ok_or_else(|| format!("expected sizes, got\n{text}"))
}

/// The first two numbers in the last line of `size`: code with constants, and data.
fn loaded(sizes: &str) -> Option<usize> {
    let mut numbers = sizes.lines().last()?.split_whitespace().map_while(|word| word.parse::<usize>().ok());
    Some(numbers.next()? + numbers.next()?)
}

/// No kernel of a library calls an instruction as a function.
fn intrinsics(place: &Place) -> Result<(), String> {
    let tools = Tools::new(&place.root)?;
    for target in &TARGETS {
        for &flavour in target.flavours() {
            let symbols = quiet_output(tools.command("llvm-nm").arg("-C").arg(library::archive(&place.root, target, flavour)))?;
            if let Some(left) = intrinsics_left_out_of_line(&symbols).next() {
                return Err(format!("`{left}` is a function in {} for {}", flavour.file(), target.triple));
            }
        }
    }
    Ok(())
}

/// In a library packed in the same way, a panic is caught.
fn panics(place: &Place) -> Result<(), String> {
    for target in TARGETS.iter().filter(|target| target.flavours().contains(&Flavour::Std)) {
        let built = place.scratch(target, "panic-built.a");
        let mut rustc = command_in(&place.root, "rustc --edition 2024 -O --crate-type staticlib --target");
        run_quietly(rustc.arg(target.triple).arg("-o").arg(&built).arg("tests/capi/panic.rs"))?;
        let packed = place.scratch(target, "panic.a");
        library::one_object(&place.root, target, Flavour::Std, &built, &[String::from("kgl_test_catch")], &packed)?;
        let flags = format!("{} {}", packed.display(), package::linked(target, Flavour::Std));
        for is_static in [false, true] {
            compilers::run(target.triple, "panic.c", &flags, is_static, &place.scratch(target, "panic"), &[])?;
        }
    }
    println!("panics are caught where programs are linked as the packages say, static and dynamic");
    Ok(())
}

/// A program is linked with each library by what pkg-config, `cargo xtask install` and CMake say, static and dynamic, and runs.
fn links(place: &Place) -> Result<(), String> {
    let mut count = 0;
    for target in TARGETS.iter().filter(|target| !target.is_bare()) {
        let prefix = place.prefix(target);
        let program = place.scratch(target, "link");
        let mut run = |flags: &str, is_static, features| {
            count += 1;
            compilers::run(target.triple, "link.c", flags, is_static, &program, &[features]).map_err(|e| format!("{}: {e}", target.triple))
        };
        for (flavour, package, features) in [(Flavour::Std, "kinglet", "1"), (Flavour::Core, "kinglet-core", "0")] {
            for flags in [package::flags(target, flavour, &prefix.display().to_string()), pkg_config(&prefix, package)?] {
                run(&flags, false, features)?;
                run(&flags, true, features)?;
            }
        }
        if target.has_shared() {
            run(&format!("{} -Wl,-rpath,{}/lib", pkg_config(&prefix, "kinglet-shared")?, prefix.display()), false, "1")?;
        }
    }
    // As machines find it that run it: CMake's own rules for other machines are not ours to test.
    for target in TARGETS.iter().filter(|target| target.triple.starts_with(std::env::consts::ARCH) && !target.is_bare()) {
        count += cmake(place, target)?;
    }
    println!("{count} programs linked and ran");
    Ok(())
}

/// Flags for a package, and for nothing else of this machine's.
fn pkg_config(prefix: &Path, package: &str) -> Result<String, String> {
    let mut command = command_in(prefix, "pkg-config --cflags --libs");
    Ok(quiet_output(command.arg(package).env("PKG_CONFIG_LIBDIR", prefix.join("lib/pkgconfig")))?.trim().to_owned())
}

/// Builds and runs the project in tests/capi/cmake.
fn cmake(place: &Place, target: &Target) -> Result<usize, String> {
    let components: &[(&str, &str)] =
        if target.has_shared() { &[("kinglet", "1"), ("shared", "1"), ("core", "0")] } else { &[("kinglet", "1"), ("core", "0")] };
    let names: Vec<&str> = components.iter().map(|(name, _)| *name).collect();
    let folder = place.scratch(target, "cmake");
    let _ = std::fs::remove_dir_all(&folder);
    let mut configure = command_in(&place.root, "cmake -S tests/capi/cmake -B");
    configure
        .arg(&folder)
        .arg(format!("-DCOMPONENTS={}", names.join(";")))
        .arg(format!("-DCMAKE_PREFIX_PATH={}", place.prefix(target).display()));
    configure.arg(format!("-DCMAKE_C_COMPILER={}", compilers::for_target(target.triple, false).0));
    capture(&mut configure)?.success()?;
    capture(command_in(&place.root, "cmake --build").arg(&folder))?.success()?;
    for (name, features) in components {
        capture(command_in(&folder, &format!("./linked_{name}")).arg(features))?.success()?;
    }
    Ok(components.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let text = "   text\t   data\t    bss\t    dec\t    hex\tfilename\n  94844\t     12\t      7\t  94863\t  1728f\tkinglet_core.o (ex libkinglet_core.a)\n\
                    94844\t     12\t      7\t  94863\t  1728f\t(TOTALS)\n";
        assert_eq!(loaded(text), Some(94_856));
        assert_eq!(loaded("no such file"), None);
        assert_eq!(loaded(""), None);
    }
}
