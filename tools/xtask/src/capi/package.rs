//! What a user of the library gets for a target: headers, libraries, what pkg-config and CMake must know, licences. The same files are
//! installed and put into archives.

use super::header;
use super::library::{self, Flavour, System, Target};
use crate::archive::Entry;
use crate::dist::{TEXTS, read};
use crate::notices::{self, Parts};
use crate::toolchain::{self, sysroot};
use std::path::Path;

/// The same calls for C++, from the repository's root.
const CPP_HEADER: &str = "runtime/capi/include/kinglet.hpp";

/// What the linker must be told besides the static library with `std`.
struct Link {
    libraries: &'static [&'static str],
    options: &'static [&'static str],
}

impl Link {
    fn of(system: System) -> Self {
        match system {
            // Empty since glibc 2.34, which has both in itself. GCC and Clang name the unwinder themselves.
            System::Glibc => Self { libraries: &["pthread", "dl"], options: &[] },
            // Where the unwinder finds the tables by which it catches a panic. The wrapper musl-gcc leaves it out.
            System::Musl => Self { libraries: &[], options: &["--eh-frame-hdr"] },
            System::Bare => Self { libraries: &[], options: &[] },
        }
    }

    /// As a compiler takes it.
    fn flags(&self) -> String {
        let libraries = self.libraries.iter().map(|name| format!("-l{name}"));
        self.options.iter().map(|option| format!("-Wl,{option}")).chain(libraries).collect::<Vec<_>>().join(" ")
    }
}

/// What the linker must be told besides the archive of a flavour.
pub(crate) fn linked(target: &Target, flavour: Flavour) -> String {
    if flavour == Flavour::Std { Link::of(target.system).flags() } else { String::new() }
}

/// What a compiler is told behind its sources, to link a flavour that is installed in `prefix`.
pub(crate) fn flags(target: &Target, flavour: Flavour, prefix: &str) -> String {
    format!("-I{prefix}/include {prefix}/lib/{} {}", flavour.file(), linked(target, flavour)).trim_end().to_owned()
}

/// The files of the package, sorted by path. They must have been built.
pub(crate) fn entries(root: &Path, target: &Target) -> Result<Vec<Entry>, String> {
    let version = toolchain::version(root, "kinglet-capi")?;
    let mut entries = vec![Entry::file("include/kinglet.h", 0o644, header::read(root)?.into_bytes())];
    if root.join(CPP_HEADER).exists() {
        entries.push(Entry::file("include/kinglet.hpp", 0o644, read(&root.join(CPP_HEADER))?));
    }
    for &flavour in target.flavours() {
        library::examine(root, target, flavour)?;
        entries.push(Entry::file(&format!("lib/{}", flavour.file()), 0o644, read(&library::archive(root, target, flavour))?));
    }
    if target.has_shared() {
        let [real, soname, link] = library::shared_names(&version);
        library::examine_shared(root, target, &soname)?;
        entries.push(Entry::file(&format!("lib/{real}"), 0o755, read(&library::shared(root, target))?));
        entries.push(Entry::link(&format!("lib/{soname}"), real));
        entries.push(Entry::link(&format!("lib/{link}"), soname));
    }
    for (name, text) in pkg_config(root, target, &version)? {
        entries.push(Entry::file(&format!("lib/pkgconfig/{name}.pc"), 0o644, text));
    }
    for (name, text) in cmake(root, target, &version)? {
        entries.push(Entry::file(&format!("lib/cmake/kinglet/{name}"), 0o644, text));
    }
    let parts = if target.system == System::Musl { Parts::Unwinder } else { Parts::None };
    let notices = notices::files(root, target.triple, &["kinglet-capi", target.flavours()[0].features()], parts, &sysroot(root)?)?;
    for text in TEXTS {
        entries.push(Entry::file(&format!("share/doc/kinglet/{text}"), 0o644, read(&root.join(text))?));
    }
    entries.extend(notices.into_iter().map(|(name, text)| Entry::file(&format!("share/doc/kinglet/{name}"), 0o644, text)));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// What is in the package, for people.
pub(crate) fn about(root: &Path, target: &Target) -> Result<String, String> {
    let mut about: Vec<String> = target.flavours().iter().map(|flavour| flavour.file()).collect();
    if target.has_shared() {
        let [_, soname, _] = library::shared_names(&toolchain::version(root, "kinglet-capi")?);
        about.push(format!("{soname}, which needs {}", library::examine_shared(root, target, &soname)?));
    }
    Ok(about.join("; "))
}

/// A file of runtime/capi/package with words for the names in it.
fn filled(root: &Path, name: &str, words: &[(&str, &str)]) -> Result<Vec<u8>, String> {
    let path = root.join("runtime/capi/package").join(name);
    let mut text = String::from_utf8(read(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    for (name, word) in words {
        text = text.replace(&format!("@{name}@"), word);
    }
    match text.split('@').nth(1) {
        Some(left) => Err(format!("{}: nothing stands for @{left}@", path.display())),
        None => Ok(text.into_bytes()),
    }
}

/// As with CMake, the name `kinglet` is that of the static library: a program of one file, which finds nothing else when it starts.
fn pkg_config(root: &Path, target: &Target, version: &str) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    const STD: &str = "transformers with 4-bit and 8-bit weights on small machines";
    const CORE: &str = "transformers on machines without an operating system: the caller brings memory and cores";
    let archive = |flavour: Flavour| format!("${{libdir}}/{} {}", flavour.file(), linked(target, flavour));
    let mut packages = Vec::new();
    for &flavour in target.flavours() {
        packages.push(match flavour {
            Flavour::Std => ("kinglet", STD, archive(flavour)),
            Flavour::Core => ("kinglet-core", CORE, archive(flavour)),
        });
    }
    if target.has_shared() {
        packages.push(("kinglet-shared", STD, format!("-L${{libdir}} -l{}", Flavour::Std.name())));
    }
    let filled = |(name, description, libs): (&'static str, &str, String)| {
        let words = [("NAME", name), ("DESCRIPTION", description), ("VERSION", version), ("LIBS", libs.trim_end())];
        Ok((name, filled(root, "kinglet.pc.in", &words)?))
    };
    packages.into_iter().map(filled).collect()
}

fn cmake(root: &Path, target: &Target, version: &str) -> Result<[(&'static str, Vec<u8>); 2], String> {
    let link = Link::of(target.system);
    let [real, soname, _] = library::shared_names(version);
    let options: Vec<String> = link.options.iter().map(|option| format!("LINKER:{option}")).collect();
    let mut numbers = version.split('.');
    let words = [
        ("TARGET", target.triple),
        ("SHARED", &real),
        ("SONAME", &soname),
        ("LIBRARIES", &link.libraries.join(";")),
        ("LINK_OPTIONS", &options.join(";")),
        ("VERSION", version),
        ("MAJOR", numbers.next().unwrap_or_default()),
        ("MINOR", numbers.next().unwrap_or_default()),
    ];
    let filled = |name: &str| filled(root, name, &words);
    Ok([
        ("kinglet-config.cmake", filled("kinglet-config.cmake.in")?),
        ("kinglet-config-version.cmake", filled("kinglet-config-version.cmake.in")?),
    ])
}
