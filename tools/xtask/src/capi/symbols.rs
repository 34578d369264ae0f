//! Symbols of a library: those that it defines, those that it needs, and the lists in runtime/capi/symbols of what it may need.

use std::collections::BTreeSet;
use std::path::Path;

/// A symbol that is seen from outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    name: String,
    is_defined: bool,
}

/// The lines of `nm --format=posix`: a name, a letter, and, where there is one, a value and a size.
pub(crate) fn parse(lines: &str) -> Result<Vec<Symbol>, String> {
    let mut symbols = Vec::new();
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(name), Some(kind)) if kind.len() == 1 => {
                // A version may stand behind it.
                let name = name.split('@').next().unwrap_or_default().to_owned();
                symbols.push(Symbol { name, is_defined: !["U", "w", "v"].contains(&kind) });
            }
            // The name of an archive's member, or nothing.
            (Some(name), None) if name.ends_with(':') => {}
            (None, None) => {}
            _ => return Err(format!("expected a name and a letter, got {line:?}")),
        }
    }
    Ok(symbols)
}

/// Those that are in the library.
pub(crate) fn defined(symbols: &[Symbol]) -> BTreeSet<String> {
    symbols.iter().filter(|symbol| symbol.is_defined).map(|symbol| symbol.name.clone()).collect()
}

/// Those that must be, or may be, in what it is linked with.
pub(crate) fn needed(symbols: &[Symbol]) -> BTreeSet<String> {
    symbols.iter().filter(|symbol| !symbol.is_defined).map(|symbol| symbol.name.clone()).collect()
}

/// Fails where two sets differ, and names what is in one alone.
pub(crate) fn compare(what: &str, source: &str, expected: &BTreeSet<String>, got: &BTreeSet<String>) -> Result<(), String> {
    let mut lines = Vec::new();
    for (a, b, text) in [(got, expected, format!("not in {source}, but {what}")), (expected, got, format!("in {source}, but not {what}"))] {
        let names: Vec<&str> = a.difference(b).map(String::as_str).collect();
        if !names.is_empty() {
            lines.push(format!("{text}: {}", names.join(", ")));
        }
    }
    if lines.is_empty() { Ok(()) } else { Err(lines.join("; ")) }
}

/// What runtime/capi/symbols/LIST.txt allows a library for `machine` to need.
pub(crate) fn allowed(root: &Path, list: &str, machine: &str) -> Result<BTreeSet<String>, String> {
    let text = read(root, list)?;
    Ok(lines(&text).filter(|(_, only)| only.is_none_or(|only| only == machine)).map(|(symbol, _)| symbol.to_owned()).collect())
}

/// The same for people, if there is any; machines are in parentheses.
pub(crate) fn told(root: &Path, list: &str) -> Result<Option<String>, String> {
    let text = read(root, list)?;
    let told = |(symbol, only): (&str, Option<&str>)| only.map_or_else(|| symbol.to_owned(), |only| format!("{symbol} ({only})"));
    let told: Vec<String> = lines(&text).map(told).collect();
    Ok((!told.is_empty()).then(|| told.join(", ")))
}

fn read(root: &Path, list: &str) -> Result<String, String> {
    let path = root.join("runtime/capi/symbols").join(list).with_extension("txt");
    std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The lines of a list: a symbol, or a symbol and the one machine that it is for, as in the first word of a target's name. `#` begins a
/// remark.
fn lines(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.lines().filter_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        Some((words.next()?, words.next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn lines_of_nm_are_read() {
        let text =
            "\nlibkinglet.a[kinglet.o]:\nkgl_version T 0 e\nkgl_table D 10 8\nkgl_weak W 20 8\nmemcpy U \nstatx w \nopen@GLIBC_2.2 U\n";
        let symbols = parse(text).expect("what nm prints");
        assert_eq!(defined(&symbols), set(&["kgl_version", "kgl_table", "kgl_weak"]));
        assert_eq!(needed(&symbols), set(&["memcpy", "statx", "open"]));
        for wrong in ["kgl_version", "kgl_version text 0 e", "libkinglet.a: no symbols"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_difference_is_named() {
        assert_eq!(compare("needed", "the list", &set(&["a", "b"]), &set(&["b", "a"])), Ok(()));
        let told = compare("needed", "the list", &set(&["a", "b"]), &set(&["b", "c", "d"]));
        assert_eq!(told, Err(String::from("not in the list, but needed: c, d; in the list, but not needed: a")));
    }

    #[test]
    fn a_list_has_lines_for_one_machine() {
        let text = "# remark\nmemcpy\n\n__tls_get_addr x86_64 # another\n  getauxval aarch64\n";
        let expected = [("memcpy", None), ("__tls_get_addr", Some("x86_64")), ("getauxval", Some("aarch64"))];
        assert_eq!(lines(text).collect::<Vec<_>>(), expected);
    }
}
