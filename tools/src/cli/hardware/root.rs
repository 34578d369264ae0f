//! Where the system describes itself: `/`, or a folder that looks like it.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// More than any file that is read here has; `/proc/cpuinfo` of 256 CPUs is half of it.
const MOST_BYTES: u64 = 1 << 20;
/// `vcgencmd` answers within a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// The folder that paths of `/sys` and `/proc` are looked up in. Whatever stands there is text from outside: it may be missing,
/// change between two looks, or be nonsense.
#[derive(Clone, Debug)]
pub(crate) struct Root(PathBuf);

/// Why a file gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is not there.
    Missing,
    /// This user may not read it.
    Denied,
    /// It is there and cannot be read now, or is empty.
    Failed,
}

impl Root {
    /// This machine.
    #[must_use]
    pub(crate) fn system() -> Self {
        Self("/".into())
    }

    /// A folder in place of `/`.
    #[must_use]
    pub(crate) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Whether this is the machine that the program runs on.
    #[must_use]
    pub(crate) fn is_system(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The file's text, without blanks and NULs around it (values of the device tree end with NUL).
    pub(crate) fn read(&self, path: &str) -> Result<String, Unread> {
        let unread = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Unread::Missing,
            ErrorKind::PermissionDenied => Unread::Denied,
            _ => Unread::Failed,
        };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(self.0.join(path)).map_err(unread)?;
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(unread)?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if text.is_empty() { Err(Unread::Failed) } else { Ok(text.to_owned()) }
    }

    /// [`Root::read`], where it does not matter why there is nothing.
    #[must_use]
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        self.read(path).ok()
    }

    /// The file as a number.
    #[must_use]
    pub(crate) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// Names in a folder, sorted; nothing where there is no such folder.
    #[must_use]
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(folder)).into_iter().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The entries `PREFIXn` of a folder, in the order of their numbers: `(n, path)`.
    #[must_use]
    pub(crate) fn numbered(&self, folder: &str, prefix: &str) -> Vec<(usize, String)> {
        let numbered = |name: String| Some((name.strip_prefix(prefix)?.parse().ok()?, format!("{folder}/{name}")));
        let mut found: Vec<(usize, String)> = self.names(folder).into_iter().filter_map(numbered).collect();
        found.sort();
        found
    }

    /// What a program below the root prints; nothing if it is not there, fails, or takes longer than two seconds.
    #[must_use]
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Option<String> {
        let mut command = Command::new(self.0.join(program));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let start = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
                _ => break None,
            }
        };
        let Some(status) = status else {
            // Nothing else can be done about a program that does not end.
            let _ = child.kill().and_then(|()| child.wait());
            return None;
        };
        let mut bytes = Vec::new();
        child.stdout.take()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        status.success().then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A list of CPUs in one of the forms of sysfs, `0-3,6` or `0 1 2 3`; nothing if any of it is something else.
#[must_use]
pub(crate) fn cpu_list(text: &str) -> Option<Vec<usize>> {
    /// As many as an affinity mask here holds.
    const MOST: usize = 1024;
    let mut cpus = Vec::new();
    for part in text.split([',', ' ', '\n']).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Tree;
    use super::*;

    #[test]
    fn lists_of_cpus() {
        let cases: [(&str, Option<&[usize]>); 12] = [
            ("0", Some(&[0])),
            ("0-3", Some(&[0, 1, 2, 3])),
            ("0-1,4,6-7\n", Some(&[0, 1, 4, 6, 7])),
            ("4 5", Some(&[4, 5])),
            ("1,0,1", Some(&[0, 1])),
            ("", None),
            ("3-1", None),
            ("0-18446744073709551615", None),
            ("0-4096", None),
            ("-", None),
            ("a", None),
            ("0-1-2", None),
        ];
        for (text, expected) in cases {
            assert_eq!(cpu_list(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn files_give_text_numbers_or_a_reason() {
        let tree = Tree::new(&[("a/model", "A board\0"), ("a/n", " -12\n"), ("a/empty", "\n"), ("a/x10", ""), ("a/x9", ""), ("a/xy", "")]);
        tree.bytes("a/bad", &[0xff, b'1', 0xfe]);
        let root = tree.root();
        assert_eq!(root.text("a/model").as_deref(), Some("A board"));
        assert_eq!(root.number::<i64>("a/n"), Some(-12));
        assert_eq!(root.number::<u64>("a/n"), None);
        assert_eq!(root.number::<u64>("a/bad"), None);
        assert_eq!(root.read("a/empty"), Err(Unread::Failed));
        assert_eq!(root.read("a/none"), Err(Unread::Missing));
        assert_eq!(root.read("a/model/none"), Err(Unread::Missing));
        assert_eq!(root.read("a"), Err(Unread::Failed));
        assert_eq!(root.numbered("a", "x"), [(9, "a/x9".to_owned()), (10, "a/x10".to_owned())]);
        assert!(root.numbered("none", "x").is_empty() && !root.is_system());
    }

    #[cfg(unix)]
    #[test]
    fn programs_answer_fail_or_are_not_waited_for() {
        let tree = Tree::new(&[]);
        tree.program("bin/yes", "echo \"$1 $2\"");
        tree.program("bin/no", "echo x; exit 3");
        tree.program("bin/sleepy", "exec sleep 60");
        let root = tree.root();
        assert_eq!(root.run("bin/yes", &["a", "b"]).as_deref(), Some("a b\n"));
        assert_eq!(root.run("bin/no", &[]), None);
        assert_eq!(root.run("bin/none", &[]), None);
        let start = Instant::now();
        assert_eq!(root.run("bin/sleepy", &[]), None);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
