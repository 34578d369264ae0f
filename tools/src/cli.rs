//! The `kinglet` command: what it understands, and who does it.
//!
//! stdout carries text and results only, stderr everything else. Exit codes: 0 done, 1 failed or interrupted, 2 a
//! command line that makes no sense. Each command is a module with its arguments and a `run`.

mod bandwidth;
mod bench;
mod boards;
mod chat;
mod demo;
mod describe;
mod divergence;
mod embedded;
mod engine;
mod generate;
mod hardware;
mod inspect;
mod memory;
mod options;
mod out;
mod perplexity;
mod plan;
mod run;
mod sampling;
mod selftest;
mod source;
mod text;
mod tokenize;
mod verify;

use clap::{Parser, Subcommand};
use kinglet::isa::Isa;
use out::{Done, note, say};
use std::process::ExitCode;

const HELP: &str = "\
Examples:
  kinglet demo                                          a tiny model, embedded in this program
  quantize ./SmolLM2-135M-Instruct smol.kgl             a Hugging Face folder becomes one file
  kinglet chat -m smol.kgl                              talk to it
  kinglet run -m smol.kgl -p \"Once upon a time\" -n 64   continue a text
  kinglet bench -m smol.kgl -p 512 -n 128 -t 2          measure
  kinglet plan smol.kgl -c 2048                         memory, and the boards it fits

stdout carries text and results, stderr all else. Exit codes: 0 done, 1 failed or interrupted, 2 wrong usage.";

/// Runs int4/int8 transformers on the smallest machines that can hold them.
#[derive(Debug, Parser)]
#[command(name = "kinglet", version, after_help = HELP, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Global {
    /// Kernels to use: one instruction set, instead of the best that this machine has
    #[arg(long, global = true, value_name = "ISA")]
    isa: Option<Isa>,

    /// Say more on stderr
    #[arg(short = 'v', long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Chat(chat::ChatArgs),
    Bench(bench::BenchArgs),
    Perplexity(perplexity::PerplexityArgs),
    Inspect(inspect::InspectArgs),
    Plan(plan::PlanArgs),
    Verify(verify::VerifyArgs),
    Tokenize(tokenize::TokenizeArgs),
    Selftest(selftest::SelftestArgs),
}

/// The whole program: reads the command line, runs the command, reports its failure.
#[must_use]
pub fn main() -> ExitCode {
    // Only here is the long version worked out: its build id may be a digest of the whole program.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == "--version" || arg == "-V") {
        return say!("kinglet {}", long_version()).map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS);
    }
    let cli = match Cli::try_parse_from(options::expand_short_options(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => {
            // A closed stdout or stderr has nobody to tell.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl Cli {
    fn run(&self) -> Done {
        if self.global.verbose {
            note!("kinglet {}", long_version());
        }
        match &self.command {
            Command::Demo(args) => demo::run(self.global, args),
            Command::Run(args) => run::run(self.global, args),
            Command::Chat(args) => chat::run(self.global, args),
            Command::Bench(args) => bench::run(self.global, args),
            Command::Perplexity(args) => perplexity::run(self.global, args),
            Command::Inspect(args) => inspect::run(args),
            Command::Plan(args) => plan::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Tokenize(args) => tokenize::run(args),
            Command::Selftest(args) => selftest::run(self.global, args),
        }
    }
}

/// Version, build, target and what this machine's CPU has of what the kernels know.
fn long_version() -> String {
    let isas: Vec<String> = Isa::available().map(|isa| isa.to_string()).collect();
    format!(
        "{} (build {}, {})\ntarget: {}-{}\ninstruction sets of this machine: {}\nfile format: version {}",
        env!("CARGO_PKG_VERSION"),
        build_id(),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        std::env::consts::ARCH,
        std::env::consts::OS,
        isas.join(" "),
        kinglet::format::VERSION,
    )
}

/// What tells this build from others: what the build was told by `KINGLET_BUILD_ID`, else the program's own digest.
fn build_id() -> String {
    if let Some(id) = option_env!("KINGLET_BUILD_ID") {
        return id.to_owned();
    }
    let digest = || {
        use sha2::Digest;
        let mut file = std::fs::File::open(std::env::current_exe()?)?;
        let (mut hash, mut buffer) = (sha2::Sha256::new(), [0; 1 << 16]);
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(crate::digest::hex(&hash.finalize()[..6])),
                n => hash.update(&buffer[..n]),
            }
        }
    };
    digest().unwrap_or_else(|_: std::io::Error| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_examples() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("kinglet {}", sub.get_name())), "no example in `{} --help`", sub.get_name());
        }
    }
}
