//! The `kinglet` command: see [`kinglet_tools::cli`].

fn main() -> std::process::ExitCode {
    kinglet_tools::cli::main()
}
