//! Running commands, loudly.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A command in the repository's root, from words without spaces inside.
pub(crate) fn command(line: &str) -> Command {
    command_in(&root(), line)
}

/// The same in another folder.
pub(crate) fn command_in(folder: &Path, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("false"));
    // `cargo +nightly` must not inherit the toolchain that runs this program.
    command.args(words).current_dir(folder).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command
}

/// Runs a command; its failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    eprintln!("$ {}", show(command));
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", show(command))),
        Err(e) => Err(format!("{}: {e}", show(command))),
    }
}

/// Runs a command without saying so; its failure is an error that names it.
pub(crate) fn run_quietly(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", show(command))),
        Err(e) => Err(format!("{}: {e}", show(command))),
    }
}

/// What a command writes to its two outputs when it reads `input`.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<(String, String), String> {
    let failed = |e| format!("{}: {e}", show(command));
    let mut child = Command::new(command.get_program());
    child.args(command.get_args()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().ok_or("a child without an input")?;
    // Written beside the reading, so that neither waits for the other.
    let (wrote, output) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output();
        (writer.join(), output)
    });
    let output = output.map_err(failed)?;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match wrote {
        Ok(Ok(())) if output.status.success() => Ok((out, err)),
        _ => Err(format!("{}: {}\n{err}", show(command), output.status)),
    }
}

/// Runs a command, shows what it prints, and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    eprintln!("$ {}", show(command));
    let text = quiet_output(command)?;
    print!("{text}");
    Ok(text)
}

/// What a command says; shows neither.
pub(crate) fn quiet_output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|e| format!("{}: {e}", show(command)))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{}: {}", show(command), output.status)) }
}

/// How a command ended and what it said.
pub(crate) struct Ended {
    what: String,
    status: ExitStatus,
    stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command and keeps what it prints, whether it succeeds or not.
pub(crate) fn capture(command: &mut Command) -> Result<Ended, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{}: {e}", show(command)))?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Ended { what: show(command), status: output.status, stdout, stderr })
}

impl Ended {
    /// What a command that must succeed wrote.
    pub(crate) fn success(self) -> Result<String, String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        Err(format!("{}: {}\n{}{}", self.what, self.how(), self.stdout, self.stderr))
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether it died of an instruction that the CPU does not have.
    pub(crate) fn is_illegal_instruction(&self) -> bool {
        const SIGILL: i32 = 4;
        self.status.signal() == Some(SIGILL)
    }

    /// For people.
    pub(crate) fn how(&self) -> String {
        match self.status.signal() {
            Some(_) if self.is_illegal_instruction() => String::from("died of an instruction that the CPU does not have (SIGILL)"),
            Some(signal) => format!("died of signal {signal}"),
            None => self.status.to_string(),
        }
    }
}

/// `work` on every item, begun in their order, as many at a time as this machine has cores. What they return, in order, or the first error.
pub(crate) fn in_parallel<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> Result<T, String> + Sync) -> Result<Vec<T>, String> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<T, String>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(items.len()) {
            scope.spawn(|| {
                while let Some((i, item)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, items.get(i)?))) {
                    let result = work(item);
                    results.lock().expect("no thread panics").push((i, result));
                }
            });
        }
    });
    let mut results = results.into_inner().map_err(|_| "a thread panicked")?;
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Whether a command runs and succeeds; prints nothing.
pub(crate) fn works(line: &str) -> bool {
    command(line).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn show(command: &Command) -> String {
    let words: Vec<&OsStr> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let env = command.get_envs().filter_map(|(k, v)| Some(format!("{}={} ", k.to_string_lossy(), v?.to_string_lossy())));
    env.chain([words.join(OsStr::new(" ")).to_string_lossy().into_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_work_keeps_its_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(in_parallel(&items, |i| Ok(i * i)), Ok(items.iter().map(|i| i * i).collect()));
        let failing = in_parallel(&items, |i| if i % 10 == 7 { Err(format!("{i}")) } else { Ok(()) });
        assert_eq!(failing, Err(String::from("7")));
        assert_eq!(in_parallel(&[] as &[usize], |_| Ok(())), Ok(vec![]));
    }
}
