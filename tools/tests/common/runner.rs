//! Starting the commands under test.

use std::process::Command;

/// A command that runs `program`: by itself, or by the words of `KINGLET_RUNNER` before it, such as those of an emulator.
pub(crate) fn program(program: &str) -> Command {
    let runner = std::env::var("KINGLET_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain([program]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}
