//! Symbols of a library: those that it defines, those that it needs, and the lists in runtime/capi/symbols of what it may need.

use std::collections::BTreeSet;
use std::path::Path;

/// What runtime/capi/symbols/LIST.txt allows a library for `machine` to need. A line is a symbol, or a symbol and the one machine that
/// it is for, as in the first word of a target's name; `#` begins a remark.
pub(crate) fn allowed(root: &Path, list: &str, machine: &str) -> Result<BTreeSet<String>, String> {
    let path = root.join("runtime/capi/symbols").join(list).with_extension("txt");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut symbols = BTreeSet::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default()) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(symbol), only) if only.is_none_or(|only| only == machine) => symbols.insert(symbol.to_owned()),
            _ => continue,
        };
    }
    Ok(symbols)
}
