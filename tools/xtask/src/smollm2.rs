//! A real model on every CPU: SmolLM2, converted here, says the same on emulated AArch64 CPUs as on this machine.

use crate::dist;
use crate::emulate::{self, TARGET};
use crate::shell::{capture, command, quiet_output, root, run};
use serde_json::Value;
use std::path::Path;

pub(crate) const HELP: &str = "\
cargo xtask smollm2 FOLDER

Converts FOLDER, the checkpoint that tests/checkpoints/fetch.py makes, to q4 and to q8, and has the program that is shipped
for AArch64 go on with a text for a dozen tokens under QEMU, as Cortex-A53, A72, A76 and as a CPU with everything. Text and
digest of the logits must be those of this machine. It needs 250 MB in target/smollm2 and takes some minutes.";

const PROMPT: &str = "The capital of France is";
const TOKENS: &str = "12";

/// What a machine makes of a model.
struct Said {
    text: String,
    /// Of a prompt and of tokens one at a time.
    logits: Vec<String>,
    isa: String,
}

pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    let folder = match arguments {
        [help] if help == "--help" || help == "-h" => {
            println!("{HELP}");
            return Ok(());
        }
        [folder] => std::path::absolute(folder).map_err(|e| format!("{folder}: {e}"))?,
        _ => return Err(format!("smollm2 takes one folder\n\n{HELP}")),
    };
    run(&mut command("cargo build --release --quiet --bin kinglet --bin quantize"))?;
    let program = dist::programs(TARGET)?.kinglet;
    let models = root().join("target/smollm2");
    std::fs::create_dir_all(&models).map_err(|e| format!("{}: {e}", models.display()))?;
    for dtype in ["q4", "q8"] {
        let model = models.join(format!("{dtype}.kgl"));
        run(command("target/release/quantize --force --type").arg(dtype).arg(&folder).arg(&model))?;
        let expected = said(&model, |arguments| quiet_output(command("target/release/kinglet").args(arguments)))?;
        println!("{dtype}, this machine: {} {} {:?}", expected.isa, expected.logits.join(" "), expected.text);
        let lines = emulate::on_every_core(|core| {
            let said = said(&model, |arguments| capture(command(&core.runner()).arg(&program).args(arguments))?.success())?;
            if (&said.text, &said.logits) != (&expected.text, &expected.logits) {
                return Err(format!("{dtype}: expected {:?} {:?}, got {:?} {:?}", expected.logits, expected.text, said.logits, said.text));
            }
            if said.isa != core.best() {
                return Err(format!("{dtype}: expected the kernels of {}, {} ran", core.best(), said.isa));
            }
            Ok(format!("{dtype}, QEMU, {}: {} {} {:?}", core.name(), said.isa, said.logits.join(" "), said.text))
        })?;
        println!("{}", lines.join("\n"));
    }
    println!("the same text and logits everywhere");
    Ok(())
}

/// What the program, which `run` runs with arguments, makes of a model.
fn said(model: &Path, run: impl Fn(&[&str]) -> Result<String, String>) -> Result<Said, String> {
    let path = model.to_str().ok_or("the path of the repository must be text")?;
    let text = run(&["run", "-m", path, "-p", PROMPT, "-n", TOKENS, "--temp", "0", "-c", "64"])?;
    let rows = run(&["bench", "-m", path, "-p", TOKENS, "-n", TOKENS, "-r", "1", "-t", "1", "-o", "json"])?;
    let rows: Value = serde_json::from_str(&rows).map_err(|e| format!("the rows of `kinglet bench`: {e}"))?;
    let field = |row: &Value, name: &str| row[name].as_str().map(str::to_owned).ok_or(format!("`kinglet bench` tells no {name}"));
    let rows = rows.as_array().filter(|rows| rows.len() == 2).ok_or("`kinglet bench` does not tell two rows")?;
    let logits = rows.iter().map(|row| field(row, "logits")).collect::<Result<_, _>>()?;
    Ok(Said { text, logits, isa: field(&rows[0], "isa")? })
}
