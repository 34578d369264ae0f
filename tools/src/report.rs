//! What a conversion did, as a table: groups of tensors, their types, sizes and errors.

use kinglet::format::Entry;
use kinglet::spec::{Head, Role, Spec};
use kinglet_quant::DType;
use kinglet_quant::metrics::ErrorStats;
use std::fmt;

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What its tensors are.
    pub name: &'static str,
    /// Their element types.
    pub types: Vec<DType>,
    /// Tensors.
    pub tensors: usize,
    /// Values, without padding.
    pub weights: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// Decoded against original values; empty before a conversion.
    pub errors: ErrorStats,
}

impl Group {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: Vec::new(),
            tensors: 0,
            weights: 0,
            bytes: 0,
            errors: ErrorStats { n: 0, signal: 0.0, noise: 0.0, max_abs: 0.0 },
        }
    }

    /// Bits of the file per value.
    #[must_use]
    pub fn bits(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.weights.max(1) as f64
    }

    fn snr(&self) -> String {
        match (self.errors.n, self.errors.snr_db()) {
            (0, _) => "-".into(),
            (_, db) if db.is_infinite() => "exact".into(),
            (_, db) => format!("{db:.2}"),
        }
    }
}

/// The whole table.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Groups that have tensors, in the order of the file.
    pub groups: Vec<Group>,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the checkpoint's weights.
    pub source_bytes: u64,
    /// How long it took; `None` before a conversion.
    pub seconds: Option<f64>,
}

const NAMES: [&str; 8] = ["embedding", "head", "attn_qkv", "attn_out", "ffn_up", "ffn_down", "norms, biases", "rotary"];

const fn group_of(role: Role) -> usize {
    match role {
        Role::TokenEmbedding | Role::PositionEmbedding => 0,
        Role::Head => 1,
        Role::AttnQkv => 2,
        Role::AttnOut => 3,
        Role::FfnUp => 4,
        Role::FfnDown => 5,
        Role::RotaryFrequencies => 7,
        _ => 6,
    }
}

impl Report {
    /// The table before a conversion.
    #[must_use]
    pub fn new(spec: &Spec<'_>, entries: &[Entry], file_bytes: u64, source_bytes: u64) -> Self {
        let mut groups: Vec<Group> = NAMES.into_iter().map(Group::new).collect();
        for entry in entries {
            let group = &mut groups[group_of(entry.tensor.key.role)];
            if !group.types.contains(&entry.dtype) {
                group.types.push(entry.dtype);
            }
            group.tensors += 1;
            group.weights += entry.tensor.rows as u64 * entry.tensor.cols as u64;
            group.bytes += entry.len_bytes().unwrap_or(0);
        }
        groups.retain(|group| group.tensors > 0);
        Self { groups, tied: spec.head == Head::Tied, file_bytes, source_bytes, seconds: None }
    }

    /// Takes in a converted tensor's errors.
    pub(crate) fn add(&mut self, entry: &Entry, errors: &ErrorStats) {
        let name = NAMES[group_of(entry.tensor.key.role)];
        if let Some(group) = self.groups.iter_mut().find(|group| group.name == name) {
            group.errors.merge(errors);
        }
    }

    /// The sums over all groups.
    #[must_use]
    pub fn total(&self) -> Group {
        let mut total = Group::new("total");
        for group in &self.groups {
            total.tensors += group.tensors;
            total.weights += group.weights;
            total.bytes += group.bytes;
            total.errors.merge(&group.errors);
        }
        total
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16} {:>7} {:<8} {:>16} {:>7} {:>8} {:>16}", "tensors", "count", "type", "weights", "bits", "SNR dB", "bytes")?;
        let total = self.total();
        let rule = "-".repeat(84);
        writeln!(f, "{rule}")?;
        for group in self.groups.iter().chain([&total]) {
            if group.name == "total" {
                let head = self.file_bytes - total.bytes;
                writeln!(f, "{:<16} {:>7} {:<8} {:>16} {:>7} {:>8} {:>16}", "head of the file", "", "", "", "", "", thousands(head))?;
                writeln!(f, "{rule}")?;
            }
            let types: Vec<_> = group.types.iter().map(|t| t.name()).collect();
            let name = if group.name == "embedding" && self.tied { "embedding, head" } else { group.name };
            let bytes = if group.name == "total" { self.file_bytes } else { group.bytes };
            let bits = bytes as f64 * 8.0 / group.weights.max(1) as f64;
            let (count, weights, snr) = (thousands(group.tensors as u64), thousands(group.weights), group.snr());
            writeln!(f, "{name:<16} {count:>7} {:<8} {weights:>16} {bits:>7.3} {snr:>8} {:>16}", types.join(","), thousands(bytes))?;
        }
        Ok(())
    }
}

/// A number with commas between its thousands.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in the largest unit that leaves at least one digit before the point.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_from_the_right() {
        assert_eq!([0, 999, 1000, 175_181_291_520].map(thousands), ["0", "999", "1,000", "175,181,291,520"]);
    }

    #[test]
    fn sizes_have_the_largest_fitting_unit() {
        assert_eq!([0, 1023, 1024, 1 << 30].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.0 GiB"]);
    }
}
