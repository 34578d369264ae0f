//! `kinglet inspect`: what a model is, and what is in its file.

use super::describe;
use super::out::{Done, Failure, say, text};
use super::source::{self, Source};
use super::text::{Align, Table, printable, size, size_exact, thousands};
use crate::digest::hex;
use crate::{family, parameters};
use kinglet::format::{Container, Section};
use kinglet::spec::{Role, Spec};
use kinglet::tokenizer::Tokenizer;
use kinglet_quant::DType;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Show what a model is: spec, tensors, tokenizer, parameters
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kinglet inspect smol.kgl
  kinglet inspect smol.kgl --tensors         every tensor, with its digest
  kinglet inspect ./SmolLM2-135M-Instruct    a checkpoint, before it is converted
  kinglet inspect config.json --json         a configuration alone")]
pub(crate) struct InspectArgs {
    /// Model file (.kgl), checkpoint folder, or config.json
    #[arg(value_name = "FILE|FOLDER|CONFIG")]
    path: PathBuf,

    /// List every tensor
    #[arg(long)]
    tensors: bool,

    /// JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &InspectArgs) -> Done {
    let path = &args.path;
    let source = Source::open(path)?;
    match &source {
        Source::File(file) => {
            let container = Container::parse(file.bytes()).map_err(|e| Failure::file(path, e))?;
            show(args, container.spec(), Some(&container), None)
        }
        Source::Folder(_) | Source::Config(_) => {
            let config = source.config(path)?.unwrap_or_default();
            let model = family::Model::from_config(&config).map_err(|e| Failure::file(path, e))?;
            show(args, &model.spec(), None, Some(&model))
        }
    }
}

/// Tensors of one role: their count, common shape and type, bytes.
struct Group {
    count: u64,
    shape: (usize, usize),
    dtype: Option<DType>,
    bytes: u64,
}

fn groups(spec: &Spec<'_>, container: Option<&Container<'_>>) -> BTreeMap<(Role, usize, usize, Option<DType>), Group> {
    let mut groups = BTreeMap::new();
    let mut add = |role, rows, cols, dtype, bytes| {
        let group = groups.entry((role, rows, cols, dtype)).or_insert(Group { count: 0, shape: (rows, cols), dtype, bytes: 0 });
        group.count += 1;
        group.bytes += bytes;
    };
    match container {
        Some(container) => container.entries().for_each(|e| {
            add(e.tensor.key.role, e.tensor.rows, e.tensor.cols, Some(e.dtype), e.len_bytes().unwrap_or(0));
        }),
        None => spec.tensors().for_each(|t| add(t.key.role, t.rows, t.cols, None, 0)),
    }
    groups
}

fn tensor_table(args: &InspectArgs, spec: &Spec<'_>, container: Option<&Container<'_>>) -> Table {
    let type_name = |dtype: Option<DType>| dtype.map_or("", DType::name).to_owned();
    let shape = |rows: usize, cols: usize| format!("{} x {}", thousands(rows as u64), thousands(cols as u64));
    match (container, args.tensors) {
        (Some(container), true) => {
            let columns = ["tensor", "shape", "type", "bytes", "offset", "SHA-256"];
            let mut table =
                Table::new(&columns.map(|c| (c, if ["bytes", "offset", "shape"].contains(&c) { Align::Right } else { Align::Left })));
            for e in container.entries() {
                let bytes = thousands(e.len_bytes().unwrap_or(0));
                let (name, offset) = (e.tensor.key.to_string(), thousands(e.offset));
                table.row([name, shape(e.tensor.rows, e.tensor.cols), type_name(Some(e.dtype)), bytes, offset, hex(&e.digest[..8])]);
            }
            table
        }
        (None, true) => {
            let mut table = Table::new(&[("tensor", Align::Left), ("shape", Align::Right)]);
            spec.tensors().for_each(|t| table.row([t.key.to_string(), shape(t.rows, t.cols)]));
            table
        }
        (_, false) => {
            let columns = [
                ("tensors", Align::Left),
                ("count", Align::Right),
                ("shape", Align::Right),
                ("type", Align::Left),
                ("bytes", Align::Right),
            ];
            let mut table = Table::new(if container.is_some() { &columns } else { &columns[..3] });
            for ((role, ..), g) in groups(spec, container) {
                let mut cells = vec![role.to_string(), thousands(g.count), shape(g.shape.0, g.shape.1)];
                if container.is_some() {
                    cells.extend([type_name(g.dtype), thousands(g.bytes)]);
                }
                table.row(cells);
            }
            table
        }
    }
}

/// Weights of the matrices and vectors, without what is only computed.
fn n_parameters(spec: &Spec<'_>) -> u64 {
    spec.tensors().filter(|t| t.key.role != Role::RotaryFrequencies).map(|t| t.rows as u64 * t.cols as u64).sum()
}

fn tokenizer<'m>(container: &Container<'m>, path: &Path) -> Result<Option<Tokenizer<'m>>, Failure> {
    let section = container.section(Section::Tokenizer);
    if section.is_empty() {
        return Ok(None);
    }
    Tokenizer::parse(section, container.spec().vocab).map(Some).map_err(|e| Failure::file(path, format_args!("tokenizer: {e}")))
}

fn show(args: &InspectArgs, spec: &Spec<'_>, container: Option<&Container<'_>>, model: Option<&family::Model>) -> Done {
    let path = &args.path;
    let lines = describe::spec(spec);
    let supported = spec.check_supported();
    let tokenizer = container.map(|c| tokenizer(c, path)).transpose()?.flatten();
    let chat = container.map(super::chat::roles).transpose().map_err(|e| Failure::file(path, e))?.unwrap_or_default();
    if args.json {
        return json_form(args, spec, container, tokenizer.as_ref(), &chat);
    }
    let mut out = format!("{}\n\n", source::name(path));
    if let Some(container) = container {
        for (key, value) in container.meta() {
            out += &format!("{:<14} {}\n", key, printable(value));
        }
        out += &format!("{:<14} {}\n\n", "size", size_exact(container.layout().file_bytes()));
    }
    for (subject, words) in &lines {
        out += &format!("{subject:<14} {words}\n");
    }
    out += &format!("{:<14} {}\n", "runs here", supported.map_or_else(|e| format!("no: {e}"), |()| "yes".into()));
    if let Some(t) = &tokenizer {
        let bos = t.bos().filter(|_| t.adds_bos());
        let name = |id: kinglet::tokenizer::TokenId| printable(&String::from_utf8_lossy(t.bytes(id)));
        let ends: Vec<String> = t.ends().map(name).collect();
        let bos = bos.map_or_else(|| "no beginning token is added".to_owned(), |id| format!("texts begin with {}", name(id)));
        out += &format!("{:<14} {} tokens, {bos}, ended by {}\n", "tokenizer", thousands(t.vocab_size().into()), ends.join(" "));
    }
    if !chat.is_empty() {
        out += &format!("{:<14} {}\n", "chat roles", chat.join(", "));
    }
    for warning in model.map(family::Model::warnings).unwrap_or_default() {
        out += &format!("{:<14} {warning}\n", "note");
    }
    out += &format!("\n{}", tensor_table(args, spec, container).markdown());
    if let Some(container) = container {
        let bits = 8.0 * container.layout().len(Section::Data) as f64 / n_parameters(spec) as f64;
        let head = container.layout().offset(Section::Data);
        out += &format!("\n{bits:.2} bits per weight over the data, {} of head\n", size(head));
    }
    out += &format!("\n{}", parameters::table(spec));
    text(out.as_bytes())
}

fn json_form(
    args: &InspectArgs,
    spec: &Spec<'_>,
    container: Option<&Container<'_>>,
    tokenizer: Option<&Tokenizer<'_>>,
    chat: &[String],
) -> Done {
    let words: Vec<Value> = describe::spec(spec).iter().map(|(subject, words)| json!([subject.trim(), words])).collect();
    let table = parameters::table(spec);
    let mut object = json!({
        "model": source::name(&args.path), "vocab": spec.vocab, "hidden": spec.hidden, "context": spec.context,
        "layers": spec.stacks().map(|s| s.len()).sum::<usize>(), "stored_weights": n_parameters(spec),
        "taught_parameters": table.parameters(), "taught_matrices": table.matrices(), "spec": words, "supported": spec.check_supported().is_ok(),
    });
    if let Some(container) = container {
        let meta: serde_json::Map<String, Value> = container.meta().map(|(k, v)| (k.to_owned(), v.into())).collect();
        object["meta"] = meta.into();
        object["file_bytes"] = container.layout().file_bytes().into();
        object["head_sha256"] = hex(container.head_digest()).into();
        let tensors = container.entries().map(|e| {
            json!({
                "name": e.tensor.key.to_string(), "rows": e.tensor.rows, "cols": e.tensor.cols, "type": e.dtype.name(),
                "bytes": e.len_bytes(), "offset": e.offset, "sha256": hex(&e.digest),
            })
        });
        object["tensors"] = tensors.collect();
    } else {
        let tensors = spec.tensors().map(|t| json!({"name": t.key.to_string(), "rows": t.rows, "cols": t.cols}));
        object["tensors"] = tensors.collect();
    }
    if let Some(t) = tokenizer {
        let ends: Vec<u32> = t.ends().map(|id| id.0).collect();
        object["tokenizer"] = json!({"tokens": t.vocab_size(), "bos": t.bos().map(|id| id.0), "adds_bos": t.adds_bos(), "ends": ends});
        object["chat_roles"] = chat.into();
    }
    say!("{object:#}")
}
