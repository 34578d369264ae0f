//! The two ways out: text on stdout, everything else on stderr; and how a command fails.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Why a command ends before its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong: exit code 1.
    Error(String),
    /// The command line asks for something that cannot be: exit code 2.
    Usage(String),
    /// Ctrl-C: exit code 1, nothing more to say.
    Interrupted,
    /// Whoever read stdout has had enough: exit code 0.
    BrokenPipe,
}

/// What a command returns.
pub(crate) type Done = Result<(), Failure>;

impl Failure {
    /// A failure about a file.
    pub(crate) fn file(path: &Path, what: impl fmt::Display) -> Self {
        Failure::Error(format!("{}: {what}", path.display()))
    }

    /// Says what happened, and gives the exit code.
    #[must_use]
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Failure::Error(message) => {
                note!("kinglet: error: {message}");
                ExitCode::from(1)
            }
            Failure::Usage(message) => {
                note!("kinglet: error: {message}\n\nFor more information, try '--help'.");
                ExitCode::from(2)
            }
            Failure::Interrupted => ExitCode::from(1),
            Failure::BrokenPipe => ExitCode::SUCCESS,
        }
    }
}

/// A message as a failure.
pub(crate) fn error(message: impl fmt::Display) -> Failure {
    Failure::Error(message.to_string())
}

/// A message as a failure of the command line.
pub(crate) fn usage(message: impl fmt::Display) -> Failure {
    Failure::Usage(message.to_string())
}

/// Writes text to stdout now.
///
/// # Errors
/// [`Failure::BrokenPipe`] if nobody reads it any more; another failure if it cannot be written, as on a full disk.
pub(crate) fn text(bytes: &[u8]) -> Done {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => error(format_args!("stdout: {e}")),
    })
}

/// Writes text that a model made to stdout now. A terminal gets no control characters but newline and tab, because a
/// vocabulary may hold sequences that drive it; whatever else reads stdout gets every byte.
///
/// # Errors
/// As [`text`].
pub(crate) fn model_text(piece: &str) -> Done {
    if io::stdout().is_terminal() { text(harmless(piece).as_bytes()) } else { text(piece.as_bytes()) }
}

/// Text with U+FFFD for each control character but newline and tab.
fn harmless(piece: &str) -> std::borrow::Cow<'_, str> {
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if piece.contains(bad) { piece.replace(bad, "\u{fffd}").into() } else { piece.into() }
}

/// A line on stderr. Nothing is done if that is closed: there is nobody to tell.
macro_rules! note {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}
/// A formatted line on stdout, as a [`Done`].
macro_rules! say {
    ($($arg:tt)*) => { $crate::cli::out::text((format!($($arg)*) + "\n").as_bytes()) };
}
pub(crate) use {note, say};

/// A bar on stderr for what takes longer than a second; nothing where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: indicatif::ProgressBar,
    start: Instant,
    shown: bool,
}

impl Progress {
    /// A bar of `steps` steps.
    #[must_use]
    pub(crate) fn new(steps: u64, what: &'static str) -> Self {
        let bar = indicatif::ProgressBar::with_draw_target(Some(steps), indicatif::ProgressDrawTarget::hidden());
        if let Ok(style) = indicatif::ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len}, {eta} left  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what);
        Self { bar, start: Instant::now(), shown: false }
    }

    /// `steps` more are done, with something to say about it.
    pub(crate) fn advance(&mut self, steps: u64, message: impl Into<String>) {
        if !self.shown && self.start.elapsed() > Duration::from_secs(1) && io::stderr().is_terminal() {
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.set_message(message.into());
        self.bar.inc(steps);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Ctrl-C: the first asks the running command to stop, the second ends the program.
pub(crate) mod interrupt {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};

    static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

    /// From now on Ctrl-C only asks. Where a handler cannot be set, Ctrl-C ends the program as before.
    pub(crate) fn install() {
        ASKED.get_or_init(|| {
            let asked = Arc::new(AtomicBool::new(false));
            #[cfg(unix)]
            {
                use signal_hook::{consts::SIGINT, flag};
                // In this order: a second Ctrl-C finds the flag set by the first.
                let _ = flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&asked));
                let _ = flag::register(SIGINT, Arc::clone(&asked));
            }
            asked
        });
    }

    /// Whether Ctrl-C was pressed since the last [`clear`].
    #[must_use]
    pub(crate) fn asked() -> bool {
        ASKED.get().is_some_and(|asked| asked.load(Ordering::SeqCst))
    }

    /// Forgets it.
    pub(crate) fn clear() {
        if let Some(asked) = ASKED.get() {
            asked.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let cases = [
            ("two lines\n\tof é, 日本", "two lines\n\tof é, 日本"),
            ("\u{1b}]0;title\u{7}", "\u{fffd}]0;title\u{fffd}"),
            ("\u{9b}2J\r\u{8}\u{7f}\0", "\u{fffd}2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ];
        for (text, expected) in cases {
            assert_eq!(harmless(text), expected, "{text:?}");
        }
    }
}
