//! `cargo xtask header`: kinglet.h, from the calls and types of runtime/capi.

use super::symbols;
use crate::archive::Content;
use crate::shell::root;
use crate::toolchain;
use cbindgen::{Config, DocumentationStyle, Language, Style};
use std::collections::BTreeSet;
use std::path::Path;

/// Where the header lies, from the repository's root.
pub(crate) const PATH: &str = "runtime/capi/include/kinglet.h";

const USAGE: &str = "\
usage: cargo xtask header [--check]

Writes runtime/capi/include/kinglet.h, the header of the C library.

  --check    write nothing; fail where the header is not what would be written";

/// What is said before the first declaration.
const PREAMBLE: &str = include_str!("preamble.h");

/// The command, from its arguments.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let text = generate(&root())?;
            let path = root().join(PATH);
            if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
                println!("{PATH} is as it was, with {} functions", functions(&text).len());
                return Ok(());
            }
            super::put(&path, &Content::File { mode: 0o644, bytes: text.clone().into_bytes() })?;
            println!("{PATH}: {} functions", functions(&text).len());
            Ok(())
        }
        ["--check"] => check(),
        ["--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("expected --check or nothing, got {arguments:?}\n{USAGE}")),
    }
}

/// The header as it is checked in.
pub(crate) fn read(root: &Path) -> Result<String, String> {
    std::fs::read_to_string(root.join(PATH)).map_err(|e| format!("{PATH}: {e}"))
}

/// Fails where the header that is checked in is not what the Rust says.
pub(crate) fn check() -> Result<(), String> {
    let (expected, got) = (generate(&root())?, read(&root())?);
    match expected.lines().zip(got.lines()).position(|(expected, got)| expected != got) {
        _ if expected == got => {
            println!("{PATH} is what runtime/capi says: {} functions", functions(&got).len());
            Ok(())
        }
        at => {
            let at = at.unwrap_or(expected.lines().count().min(got.lines().count()));
            let line = |text: &str| text.lines().nth(at).unwrap_or("nothing").to_owned();
            let (expected, got) = (line(&expected), line(&got));
            Err(format!("{PATH}:{}: expected\n{expected}\ngot\n{got}\n`cargo xtask header` writes it anew", at + 1))
        }
    }
}

/// The header.
fn generate(root: &Path) -> Result<String, String> {
    let version = toolchain::version(root, "kinglet-capi")?;
    let folder = root.join("runtime/capi");
    let sources = folder.join("src");
    let mut config = Config {
        language: Language::C,
        // An enumeration gets its size in C++ from the type that it is based on, in C by a typedef.
        cpp_compat: true,
        style: Style::Type,
        header: Some(preamble(root)?),
        include_guard: Some(String::from("KINGLET_H")),
        // It would include more than is needed, such as stdlib.h, which a machine without an operating system may not have.
        no_includes: true,
        after_includes: Some(macros(&version)?),
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::Cxx,
        line_length: 120,
        tab_width: 4,
        ..Config::default()
    };
    // Parameters are numbers in place of enumerations, so no call names these.
    config.export.include = declared(&sources, &["enum", "struct", "type"], "kgl_")?;
    // The macro stands in for the first; the second is `kgl_status::ALL`, by the name that cbindgen has for it.
    config.export.exclude = ["KGL_TERMINATED", "ALLkgl_status"].map(String::from).to_vec();
    let builder = cbindgen::Builder::new().with_config(config).with_std_types(false).with_crate(folder);
    let bindings = builder.generate().map_err(|e| format!("cbindgen: {e}"))?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = nullable(&String::from_utf8(text).map_err(|e| format!("cbindgen: {e}"))?)?;
    // cbindgen leaves out a constant whose value it cannot read.
    let constants = declared(&sources, &["const"], "KGL_")?;
    match constants.iter().find(|name| !text.contains(&format!("#define {name} "))) {
        Some(left) => Err(format!("cbindgen has no value for {left}")),
        None => Ok(text),
    }
}

/// The names of the crate's public items that begin with one of `words` and whose name begins with `prefix`.
fn declared(folder: &Path, words: &[&str], prefix: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let items =
            text.lines().filter_map(|line| words.iter().find_map(|word| line.strip_prefix("pub ")?.strip_prefix(word)?.strip_prefix(' ')));
        let found = items.filter_map(|rest| rest.split(|c| !is_of_a_name(c)).next());
        names.extend(found.filter(|name| name.starts_with(prefix)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The text with `Option<NAME>` made NAME: cbindgen leaves it where NAME is another name of a pointer to a function, which may be NULL in C.
fn nullable(text: &str) -> Result<String, String> {
    let mut parts = text.split("Option<");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('>').filter(|(name, _)| name.ends_with("_fn")).ok_or("an Option that C has no word for")?;
        out.extend([name, rest]);
    }
    Ok(out)
}

/// The first words, with the symbols that are measured.
fn preamble(root: &Path) -> Result<String, String> {
    let named = |list: &str| Ok::<_, String>(symbols::told(root, list)?.unwrap_or_else(|| String::from("nothing")));
    let text = PREAMBLE.replace("@CORE_LINUX@", &named("core-linux")?).replace("@CORE_BARE@", &named("core-bare")?);
    Ok(text.trim_end().to_owned())
}

/// What Rust has no word for.
fn macros(version: &str) -> Result<String, String> {
    let [major, minor, patch] = version.split('.').collect::<Vec<_>>()[..] else {
        return Err(format!("expected a version of three numbers, got {version}"));
    };
    Ok(format!(
        "#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// The version that this header belongs to; that of the library is `kgl_version()`.
#define KGL_VERSION_MAJOR {major}
#define KGL_VERSION_MINOR {minor}
#define KGL_VERSION_PATCH {patch}
#define KGL_VERSION (KGL_VERSION_MAJOR << 16 | KGL_VERSION_MINOR << 8 | KGL_VERSION_PATCH)

/// In place of the length of a text: the text ends with a 0.
#define KGL_TERMINATED SIZE_MAX"
    ))
}

/// The functions that a header declares: names behind which a parenthesis opens. Types of functions, `(*name)(`, are none.
pub(crate) fn functions(header: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in header.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let starts = line.match_indices("kgl_").map(|(at, _)| at);
        for start in starts.filter(|&at| !line[..at].ends_with(is_of_a_name)) {
            let name = line[start..].split(|c| !is_of_a_name(c)).next().unwrap_or_default();
            if line[start + name.len()..].starts_with('(') {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_functions_are_found() {
        let header = "\
// kgl_comment(void) and more
/// As kgl_other(x).
#define KGL_CALL(x) my_kgl_macro(x)
typedef int32_t (*kgl_progress_fn)(void *user, size_t done);
typedef struct {
    kgl_progress_fn progress;
} kgl_params;
kgl_status kgl_open(const char *path,
                    kgl_error *error);
const char *kgl_name(int32_t isa); kgl_params kgl_params_default(void);
";
        assert_eq!(functions(header).into_iter().collect::<Vec<_>>(), ["kgl_name", "kgl_open", "kgl_params_default"]);
    }

    #[test]
    fn options_of_functions_are_pointers() {
        assert_eq!(nullable("a; Option<kgl_run_fn> run; Option<kgl_x_fn> x;"), Ok(String::from("a; kgl_run_fn run; kgl_x_fn x;")));
        assert!(nullable("Option<uint32_t> number;").is_err());
    }

    #[test]
    fn a_version_is_three_numbers() {
        assert!(macros("12.3.45").expect("macros").contains("#define KGL_VERSION_PATCH 45\n"));
        assert!(macros("1.2").is_err());
    }
}
