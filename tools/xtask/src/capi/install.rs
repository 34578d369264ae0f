//! `cargo xtask install`: the library for C and C++, where compilers, pkg-config and CMake find it.

use super::library::{self, Flavour, TARGETS, Target};
use super::package;
use crate::archive::{Content, Entry};
use crate::toolchain::{self, canonical_root};
use std::path::{Path, PathBuf};

const USAGE: &str = "\
usage: cargo xtask install --prefix FOLDER [--destdir FOLDER] [--target TARGET]

Builds the library for C and C++ and installs it: headers in include, libraries in lib with what pkg-config and CMake must know,
licences in share/doc/kinglet. What is installed may be moved to another folder as a whole.

  --prefix FOLDER     where it will be used from, such as /usr/local
  --destdir FOLDER    put before the prefix, for those who make packages
  --target TARGET     for another machine than this one:
                        aarch64-unknown-linux-gnu, aarch64-unknown-linux-musl,
                        x86_64-unknown-linux-gnu, x86_64-unknown-linux-musl, and without the flavour that needs a system
                        aarch64-unknown-none, thumbv7em-none-eabihf, thumbv8m.main-none-eabihf";

/// What the arguments say.
struct Options {
    prefix: PathBuf,
    destdir: Option<PathBuf>,
    target: Option<String>,
}

/// The command, from its arguments.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = parse(arguments).map_err(|e| format!("{e}\n{USAGE}"))?;
    let root = canonical_root()?;
    let triple = match options.target {
        Some(triple) => triple,
        None => toolchain::host(&root)?,
    };
    let target = TARGETS.iter().find(|target| target.triple == triple).ok_or_else(|| format!("there is no target {triple:?}\n{USAGE}"))?;
    let prefix = std::path::absolute(&options.prefix).map_err(|e| format!("--prefix {}: {e}", options.prefix.display()))?;
    library::build(&root, &[target])?;
    let place = place(&prefix, options.destdir.as_deref());
    let entries = install(&root, target, &place)?;
    for entry in &entries {
        let path = place.join(&entry.path);
        match &entry.content {
            Content::File { bytes, .. } => println!("{:>11} bytes  {}", bytes.len(), path.display()),
            Content::Link(to) => println!("{:>17}  {} -> {to}", "", path.display()),
        }
    }
    let version = toolchain::version(&root, "kinglet-capi")?;
    println!("kinglet {version} for {triple} is in {}. A program is compiled with", place.display());
    for &flavour in target.flavours() {
        println!("  {} {}", compiler(target), with(target, flavour, &prefix));
    }
    let names = entries.iter().filter_map(|entry| entry.path.strip_prefix("lib/pkgconfig/")?.strip_suffix(".pc"));
    println!("or, with PKG_CONFIG_PATH={}/lib/pkgconfig and one of {},", prefix.display(), names.collect::<Vec<_>>().join(", "));
    println!("  {} program.c $(pkg-config --cflags --libs NAME)", compiler(target));
    Ok(())
}

/// The words behind a compiler's name.
fn with(target: &Target, flavour: Flavour, prefix: &Path) -> String {
    format!("program.c {}", package::flags(target, flavour, &prefix.display().to_string()))
}

/// A compiler for a target, as people call it.
fn compiler(target: &Target) -> &'static str {
    match target.triple {
        "aarch64-unknown-linux-gnu" => "aarch64-linux-gnu-gcc",
        "aarch64-unknown-linux-musl" => "aarch64-linux-musl-gcc",
        "x86_64-unknown-linux-musl" => "musl-gcc",
        "aarch64-unknown-none" => "aarch64-none-elf-gcc",
        "thumbv7em-none-eabihf" => "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard",
        "thumbv8m.main-none-eabihf" => "arm-none-eabi-gcc -mcpu=cortex-m33 -mthumb -mfloat-abi=hard",
        _ => "cc",
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let (mut prefix, mut destdir, mut target) = (None, None, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        // `--name value` and `--name=value`.
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let slot = match name {
            "--prefix" => &mut prefix,
            "--destdir" => &mut destdir,
            "--target" => &mut target,
            _ => return Err(format!("there is no option {word:?}")),
        };
        let value = value.or_else(|| words.next().cloned()).filter(|value| !value.is_empty() && !value.starts_with("--"));
        let value = value.ok_or_else(|| format!("{name}: expected a word behind it"))?;
        if slot.replace(value).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    let prefix = prefix.ok_or("--prefix is missing")?;
    Ok(Options { prefix: PathBuf::from(prefix), destdir: destdir.map(PathBuf::from), target })
}

/// Where the files are put: under `destdir`, if there is one, as if that were the root of the file system.
fn place(prefix: &Path, destdir: Option<&Path>) -> PathBuf {
    match destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(prefix)),
        None => prefix.to_owned(),
    }
}

/// Puts the package of a target, which is built, into a folder. What there is now.
pub(crate) fn install(root: &Path, target: &Target, folder: &Path) -> Result<Vec<Entry>, String> {
    // All of them are made before the first is put anywhere.
    let entries = package::entries(root, target)?;
    entries.iter().try_for_each(|entry| super::put(&folder.join(&entry.path), &entry.content))?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read() {
        let options = parse(&words("--prefix /usr --destdir=d --target thumbv7em-none-eabihf")).map_err(|e| panic!("{e}"));
        let Ok(Options { prefix, destdir, target }) = options;
        assert_eq!((prefix, destdir), (PathBuf::from("/usr"), Some(PathBuf::from("d"))));
        assert_eq!(target.as_deref(), Some("thumbv7em-none-eabihf"));
        for (line, what) in [
            ("", "--prefix is missing"),
            ("--target x86_64-unknown-linux-gnu", "--prefix is missing"),
            ("--prefix", "--prefix: expected a word"),
            ("--prefix=", "--prefix: expected a word"),
            ("--prefix --destdir d", "--prefix: expected a word"),
            ("--prefix a --prefix b", "--prefix is there twice"),
            ("--prefix a --fast", "there is no option \"--fast\""),
            ("a", "there is no option \"a\""),
        ] {
            let error = parse(&words(line)).err().unwrap_or_default();
            assert!(error.contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn a_package_goes_below_its_destination() {
        assert_eq!(place(Path::new("/usr/local"), None), Path::new("/usr/local"));
        assert_eq!(place(Path::new("/usr/local"), Some(Path::new("/tmp/d"))), Path::new("/tmp/d/usr/local"));
    }
}
