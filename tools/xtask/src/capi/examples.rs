//! The examples of the library: built and run by the lines in their own first comments, and by CMake.

use super::compilers;
use super::suite::{Bench, Step};
use crate::shell::{capture, command_in, quiet_output};
use crate::toolchain::sysroot;
use std::path::Path;

pub(crate) const STEPS: [Step; 3] = [("examples", by_hand), ("cmake", by_cmake), ("readme", readme)];

const HOST: &str = "x86_64-unknown-linux-gnu";

/// The lines of a file's first comment that a shell is to run: those that are set in by four blanks.
fn shell_lines(source: &str) -> Vec<&str> {
    source.lines().map_while(|line| line.strip_prefix("//")).filter_map(|line| line.strip_prefix("     ")).collect()
}

/// Where the examples are copied to, with a model and the compilers' plain names.
fn prepare(bench: &Bench) -> Result<std::path::PathBuf, String> {
    let to = bench.folder.join("examples");
    let failed = |e: std::io::Error| format!("{}: {e}", to.display());
    let _ = std::fs::remove_dir_all(&to);
    let from = bench.place.root.join("runtime/capi/examples");
    let bin = to.join("bin");
    std::fs::create_dir_all(&bin).map_err(failed)?;
    for folder in ["", "firmware"] {
        std::fs::create_dir_all(to.join(folder)).map_err(failed)?;
        for entry in std::fs::read_dir(from.join(folder)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path().is_file() {
                std::fs::copy(entry.path(), to.join(folder).join(entry.file_name())).map_err(failed)?;
            }
        }
        std::fs::copy(bench.model("tiny-q4"), to.join(folder).join("MODEL.kgl")).map_err(failed)?;
    }
    let lld = sysroot(&bench.place.root)?.join("lib/rustlib").join(HOST).join("bin/rust-lld");
    let clang = quiet_output(command_in(&to, "sh -c").arg(format!("command -v {}", compilers::clang())))?;
    for (name, program) in [("ld.lld", lld.as_path()), ("clang", Path::new(clang.trim_end()))] {
        std::os::unix::fs::symlink(program, bin.join(name)).map_err(failed)?;
    }
    Ok(to)
}

/// Runs the lines of an example as they stand; returns what they print.
fn follow(bench: &Bench, folder: &Path, source: &str, prefix: &Path, lines: impl Fn(&str) -> bool) -> Result<String, String> {
    let text = std::fs::read_to_string(folder.join(source)).map_err(|e| format!("{source}: {e}"))?;
    let lines: Vec<&str> = shell_lines(&text).into_iter().filter(|line| lines(line)).collect();
    if lines.len() < 2 {
        return Err(format!("{source}: expected a line that builds it and one that runs it, got {lines:?}"));
    }
    let place = folder.join(source);
    let mut shell = command_in(place.parent().unwrap_or(folder), "sh -e -c");
    let path = std::env::var("PATH").unwrap_or_default();
    shell.arg(lines.join("\n")).env("PATH", format!("{}:{path}", bench.folder.join("examples/bin").display())).env("PREFIX", prefix);
    let packages = bench.prefix(HOST)?.join("lib/pkgconfig");
    shell.env("PKG_CONFIG_LIBDIR", packages);
    capture(&mut shell)?.success().map_err(|e| format!("{source}: {e}"))
}

/// What a command of this project writes.
fn expected(bench: &Bench, command: &str, arguments: &[&str]) -> Result<String, String> {
    capture(command_in(&bench.place.root, &format!("target/release/kinglet {command}")).args(arguments))?.success()
}

fn by_hand(bench: &Bench) -> Result<String, String> {
    let folder = prepare(bench)?;
    let prefix = bench.prefix(HOST)?;
    let here = |source: &str| follow(bench, &folder, source, &prefix, |_| true);
    let (hello, cpp) = (here("hello.c")?, here("hello.cpp")?);
    if hello != cpp || hello.len() < 40 {
        return Err(format!("hello.c wrote\n{hello}\nhello.cpp wrote\n{cpp}"));
    }
    // A file without a chat format: the text goes on, as the command has it go on.
    let plain = bench.model("plain");
    let text = capture(command_in(&folder, "./hello").args([&plain, "It was"]))?.success()?;
    let command = expected(bench, "run", &["-m", &plain, "-p", "It was", "-n", "60", "-s", "1"])?;
    if text.trim_end() != command.trim_end() {
        return Err(format!("hello.c goes on with\n{text}\n`kinglet run` with\n{command}"));
    }
    let wrong = capture(&mut command_in(&folder, "./hello nowhere.kgl x"))?;
    if wrong.code() != Some(1) || !wrong.stderr.starts_with("hello: nowhere.kgl: ") {
        return Err(format!("hello.c without a file ends so: {}, {}", wrong.how(), wrong.stderr));
    }
    let chat = here("chat.c")?;
    let server = here("server.c")?;
    answers(&server, 4)?;
    let firmware = firmware(bench, &folder)?;
    std::fs::write(bench.folder.join("examples.txt"), [hello.as_str(), &chat, &server].join("\0")).map_err(|e| e.to_string())?;
    Ok(format!("hello.c, hello.cpp, chat.c, server.c as their comments say, one text in C, C++ and the command; {firmware}"))
}

/// The answers of server.c: each begins with its number, and each number is there once.
fn answers(text: &str, count: usize) -> Result<Vec<String>, String> {
    let mut answers: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.split_once(": ") {
            Some((number, rest)) if number.parse::<usize>().is_ok() && rest.contains('|') => answers.push(line.to_owned()),
            _ => answers.last_mut().ok_or_else(|| format!("expected an answer, got {line}"))?.extend(["\n", line]),
        }
    }
    answers.sort();
    let is_whole = answers.iter().enumerate().all(|(i, answer)| answer.starts_with(&format!("{i}: ")));
    if answers.len() == count && is_whole { Ok(answers) } else { Err(format!("expected {count} answers, got\n{text}")) }
}

/// The text of the firmware on each machine, without what it says of its memory, which differs with the width of pointers.
fn firmware(bench: &Bench, folder: &Path) -> Result<String, String> {
    const SOURCE: &str = "firmware/embed_in_firmware.c";
    let prompt = "It was a truth universally acknowledged, that";
    let goes_on = expected(bench, "run", &["-m", &bench.model("tiny-q4"), "-p", prompt, "-n", "24", "--temp", "0"])?;
    let expected = format!("{prompt}{}", goes_on.trim_end());
    let mut stacks = Vec::new();
    for (triple, core, board) in [
        (HOST, "", "host"),
        ("thumbv7em-none-eabihf", "cortex-m4", "mps2-an386"),
        ("thumbv8m.main-none-eabihf", "cortex-m33", "mps2-an505"),
    ] {
        let is_for = |line: &str| match board {
            "host" => line.starts_with("cc ") || line.starts_with("./"),
            _ => !line.starts_with("cc ") && !line.starts_with("./"),
        };
        // The comment spells the first board out, and says by which words the second differs.
        let place = folder.join(SOURCE);
        if board == "mps2-an505" {
            let text = std::fs::read_to_string(&place).map_err(|e| format!("{SOURCE}: {e}"))?;
            let text = text.replace("thumbv7em-none-eabihf", triple).replace("cortex-m4", core).replace("an386", "an505");
            std::fs::write(&place, text).map_err(|e| format!("{SOURCE}: {e}"))?;
        }
        let text = follow(bench, folder, SOURCE, &bench.prefix(triple)?, is_for)?;
        let said: Vec<&str> = text.lines().filter(|line| !line.ends_with(" bytes")).collect();
        // The stack is measured where there is nothing else: the program itself compares it with what the header promises.
        let sizes = if board == "host" { 3 } else { 4 };
        if said.join("\n").trim_end() != expected || text.lines().count() != said.len() + sizes {
            return Err(format!("{SOURCE} on {board}: expected {sizes} sizes and\n{expected}\ngot\n{text}"));
        }
        if let Some(line) = text.lines().find(|line| line.starts_with("stack: ")) {
            stacks.push(format!("{board} {line}"));
        }
    }
    let text = "embed_in_firmware.c here, on a Cortex-M4 and on a Cortex-M33 (QEMU), one text on all three and of the command";
    Ok(format!("{text}; {}", stacks.join(", ")))
}

fn by_cmake(bench: &Bench) -> Result<String, String> {
    let folder = bench.folder.join("examples");
    let build = folder.join("build");
    let mut configure = command_in(&folder, "cmake -S . -B build");
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", bench.prefix(HOST)?.display()));
    configure.arg(format!("-DMODEL_FILE={}/MODEL.kgl", folder.display()));
    capture(&mut configure)?.success()?;
    capture(&mut command_in(&folder, "cmake --build build --parallel 2"))?.success()?;
    let by_hand = std::fs::read_to_string(bench.folder.join("examples.txt")).map_err(|e| e.to_string())?;
    let [hello, chat, server] = by_hand.split('\0').collect::<Vec<_>>()[..] else { return Err(String::from("three texts were kept")) };
    for (program, source, expected) in
        [("hello", "hello.c", hello), ("hello_cpp", "hello.cpp", hello), ("chat", "chat.c", chat), ("server", "server.c", server)]
    {
        let text = std::fs::read_to_string(folder.join(source)).map_err(|e| format!("{source}: {e}"))?;
        let lines = shell_lines(&text);
        let line = lines.last().ok_or("a comment without a line")?;
        let name = source.split('.').next().unwrap_or_default();
        let line = line.replace(&format!("./{name}"), &build.join(program).display().to_string());
        let text = capture(command_in(&folder, "sh -e -c").arg(line))?.success()?;
        let is_same = if program == "server" { answers(&text, 4)? == answers(expected, 4)? } else { text == expected };
        if !is_same {
            return Err(format!("{program}: expected\n{expected}\ngot\n{text}"));
        }
    }
    capture(&mut command_in(&folder, "build/embed_in_firmware"))?.success()?;
    Ok(String::from("five programs write what those built by hand do"))
}

/// The program in README.md, without a warning, greets as well.
fn readme(bench: &Bench) -> Result<String, String> {
    let text = std::fs::read_to_string(bench.place.root.join("README.md")).map_err(|e| format!("README.md: {e}"))?;
    let programs: Vec<&str> = text.split("\n```c\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    let [program] = programs[..] else { return Err(format!("expected a program in README.md, got {}", programs.len())) };
    let folder = bench.folder.join("readme");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    std::fs::write(folder.join("hello.c"), format!("{program}\n")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let line = "cc -Wall -Wextra -pedantic -Werror hello.c $(pkg-config --cflags --libs kinglet) -o hello";
    let mut shell = command_in(&folder, "sh -e -c");
    capture(shell.arg(line).env("PKG_CONFIG_LIBDIR", bench.prefix(HOST)?.join("lib/pkgconfig")))?.success()?;
    let text = capture(command_in(&folder, "./hello").args([&bench.model("tiny-q4"), "Hello"]))?.success()?;
    match capture(command_in(&folder, "./hello").args(["nowhere.kgl", "Hello"]))? {
        ended if ended.code() == Some(1) && ended.stderr.starts_with("hello: nowhere.kgl: ") => {}
        ended => return Err(format!("without a file it ends so: {}, {}", ended.how(), ended.stderr)),
    }
    let command = expected(bench, "chat", &["-m", &bench.model("tiny-q4"), "-p", "Hello", "-n", "200", "--temp", "0"])?;
    if text.trim_end() != command.trim_end() || text.len() < 40 {
        return Err(format!("it answers\n{text}\n`kinglet chat`\n{command}"));
    }
    Ok(format!("its program in C writes what `kinglet chat` does, {} bytes", text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_a_shell_are_found() {
        let source = "// About.\n//\n//     cc a.c -o a\n//     ./a x\n//\n// More.\n#include <a>\n//     not in the first comment\n";
        assert_eq!(shell_lines(source), ["cc a.c -o a", "./a x"]);
    }

    #[test]
    fn answers_are_told_apart() {
        let text = "1: b|y\nmore: of it\n0: a|x\n";
        assert_eq!(answers(text, 2), Ok(vec![String::from("0: a|x"), String::from("1: b|y\nmore: of it")]));
        assert!(answers(text, 3).is_err() && answers("0: a|x\n0: b|y\n", 2).is_err() && answers("x", 0).is_err());
    }
}
