//! The parameter table as it is usually taught: attention matrices counted per head, biases, norms and positions
//! left out.
//!
//! ```
//! use kinglet_tools::{family::Model, parameters};
//! let gpt3 = r#"{
//!     "model_type": "gpt2", "n_embd": 12288, "n_layer": 96, "n_head": 96, "n_inner": 49152, "n_positions": 2048,
//!     "vocab_size": 50257, "tie_word_embeddings": false
//! }"#;
//! let table = parameters::table(&Model::from_config(gpt3).unwrap().spec());
//! assert_eq!((table.parameters(), table.matrices()), (175_181_291_520, 27_938));
//! ```

use crate::report::thousands;
use kinglet::spec::{Ffn, Head, Spec};
use std::fmt;

/// Matrices of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What they are called.
    pub name: &'static str,
    /// Rows of each.
    pub rows: u64,
    /// Columns of each.
    pub cols: u64,
    /// How many there are.
    pub matrices: u64,
    /// How that number comes about, such as `96 heads x 96 layers`.
    pub per: String,
}

impl Row {
    /// Parameters of all of them.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.rows * self.cols * self.matrices
    }
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its rows.
    pub rows: Vec<Row>,
    /// Whether the unembedding is the embedding, and so has no row.
    pub tied: bool,
    /// Parameters that are not counted above: biases, norms, positions. The rotary frequencies are not learned.
    pub others: u64,
}

impl Table {
    /// Parameters of all rows.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.rows.iter().map(Row::parameters).sum()
    }

    /// Matrices of all rows.
    #[must_use]
    pub fn matrices(&self) -> u64 {
        self.rows.iter().map(|row| row.matrices).sum()
    }
}

/// Counts the matrices of a model. Queries, keys and values have one matrix per head; the output projections of a
/// layer's heads count as one matrix, side by side.
#[must_use]
pub fn table(spec: &Spec<'_>) -> Table {
    let (vocab, hidden) = (u64::from(spec.vocab), u64::from(spec.hidden));
    let mut rows = vec![Row { name: "embedding", rows: hidden, cols: vocab, matrices: 1, per: String::new() }];
    for stack in spec.stacks() {
        for (kind, block) in stack.kinds().iter().enumerate() {
            let layers = (0..stack.len()).filter(|&layer| stack.kind_of(layer) == kind).count() as u64;
            let (heads, kv_heads) = (u64::from(block.heads), u64::from(block.kv_heads));
            let (head_dim, ffn) = (u64::from(block.head_dim), u64::from(block.ffn_dim));
            let mut add = |name, rows_, cols, per_layer: u64, unit: &str| {
                let per = if unit.is_empty() { format!("{layers} layers") } else { format!("{per_layer} {unit} x {layers} layers") };
                rows.push(Row { name, rows: rows_, cols, matrices: per_layer * layers, per });
            };
            add("query", head_dim, hidden, heads, "heads");
            add("key", head_dim, hidden, kv_heads, "heads");
            add("value", head_dim, hidden, kv_heads, "heads");
            add("output", hidden, head_dim * heads, 1, "");
            if block.ffn == Ffn::Gated {
                add("gate", ffn, hidden, 1, "");
            }
            add("up-projection", ffn, hidden, 1, "");
            add("down-projection", hidden, ffn, 1, "");
        }
    }
    if spec.head == Head::Own {
        rows.push(Row { name: "unembedding", rows: vocab, cols: hidden, matrices: 1, per: String::new() });
    }
    merge(&mut rows);
    let learned = spec.tensors().filter(|t| t.key.role != kinglet::spec::Role::RotaryFrequencies);
    let all: u64 = learned.map(|t| t.rows as u64 * t.cols as u64).sum();
    let mut table = Table { rows, tied: spec.head == Head::Tied, others: 0 };
    table.others = all - table.parameters();
    table
}

/// Adds up rows of kinds of block that differ in nothing that is counted here.
fn merge(rows: &mut Vec<Row>) {
    let mut merged: Vec<Row> = Vec::new();
    for row in rows.drain(..) {
        match merged.iter_mut().find(|m| (m.name, m.rows, m.cols) == (row.name, row.rows, row.cols)) {
            Some(same) => {
                same.matrices += row.matrices;
                same.per = format!("{} + {}", same.per, row.per);
            }
            None => merged.push(row),
        }
    }
    *rows = merged;
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = "-".repeat(90);
        writeln!(f, "{:<16} {:>9} x {:<9} {:>9}  {:<22} {:>18}", "matrices", "rows", "columns", "count", "", "parameters")?;
        writeln!(f, "{rule}")?;
        for row in &self.rows {
            let (rows, cols, count) = (thousands(row.rows), thousands(row.cols), thousands(row.matrices));
            writeln!(f, "{:<16} {rows:>9} x {cols:<9} {count:>9}  {:<22} {:>18}", row.name, row.per, thousands(row.parameters()))?;
        }
        if self.tied {
            writeln!(f, "{:<16} {:>9}   {:<9} {:>9}  {:<22} {:>18}", "unembedding", "", "", "", "is the embedding", "0")?;
        }
        writeln!(f, "{rule}")?;
        writeln!(
            f,
            "{:<16} {:>9}   {:<9} {:>9}  {:<22} {:>18}",
            "total",
            "",
            "",
            thousands(self.matrices()),
            "",
            thousands(self.parameters())
        )?;
        let others = thousands(self.others);
        writeln!(f, "{:<16} {:>9}   {:<9} {:>9}  {:<22} {others:>18}", "not counted", "", "", "", "biases, norms, positions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Model;

    #[test]
    fn gpt3_has_the_taught_number_of_parameters() {
        let model = Model::from_config(include_str!("../../docs/examples/gpt3-config.json")).unwrap();
        assert!(model.warnings().is_empty(), "{:?}", model.warnings());
        let table = table(&model.spec());
        assert_eq!((table.parameters(), table.matrices()), (175_181_291_520, 27_938));
        let rows: Vec<_> = table.rows.iter().map(|row| (row.name, row.matrices, row.parameters())).collect();
        assert_eq!(
            rows,
            [
                ("embedding", 1, 617_558_016),
                ("query", 9_216, 14_495_514_624),
                ("key", 9_216, 14_495_514_624),
                ("value", 9_216, 14_495_514_624),
                ("output", 96, 14_495_514_624),
                ("up-projection", 96, 57_982_058_496),
                ("down-projection", 96, 57_982_058_496),
                ("unembedding", 1, 617_558_016),
            ]
        );
        let text = table.to_string();
        assert!(text.contains("175,181,291,520") && text.contains("27,938"), "{text}");
    }

    #[test]
    fn shared_key_heads_are_counted_once_and_gates_are_matrices() {
        let config = r#"{"model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
            "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 100, "use_sliding_window": true,
            "sliding_window": 8, "max_window_layers": 1, "tie_word_embeddings": true}"#;
        let table = table(&Model::from_config(config).unwrap().spec());
        let counts: Vec<_> = table.rows.iter().map(|row| (row.name, row.matrices)).collect();
        let expected = [
            ("embedding", 1),
            ("query", 32),
            ("key", 8),
            ("value", 8),
            ("output", 4),
            ("gate", 4),
            ("up-projection", 4),
            ("down-projection", 4),
        ];
        assert_eq!(counts, expected);
        // Norms: 9 of 64; biases: 4 layers of (8 + 2 + 2) heads of 8.
        assert_eq!(table.others, 9 * 64 + 4 * 12 * 8);
    }
}
