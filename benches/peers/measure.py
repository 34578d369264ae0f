"""One measurement: a program, a file, a test. Not a program itself; compare.py loops over these.

A contender is a program with a file. It knows the variants in which it may run a test, and `measure` gives one sample.
"""
import collections
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

from prepare import Failed

CONTEXT = 2048  # of every `run`, on both sides: the defaults differ, and llama.cpp's is as large as the model allows
RSS_TOKENS = 128
LONG_PROMPT = 4096  # from here on, a prompt depends on attention enough that the peer may choose its cache
SENTENCE = "The little bird sat on the fence, looked at the long road in front of it, and sang until the evening came. "
RSS_SENTENCES = 21  # about 512 tokens in each of the vocabularies

Test = collections.namedtuple("Test", "kind size")
Task = collections.namedtuple("Task", "model test threads")
Ended = collections.namedtuple("Ended", "out first_byte usage")


def parse_tests(text):
    """The tests that a name of the option stands for."""
    if text == "ttft":
        return [Test("ttft-cold", 0), Test("ttft-warm", 0)]
    if text == "rss":
        return [Test("rss", 0)]
    match = re.fullmatch(r"(tg|pp)(\d+)", text)
    if not match or (match[1] == "pp" and int(match[2]) == 0):
        raise ValueError(text)
    return [Test(match[1], int(match[2]))]


def title(test, tokens):
    """As `kinglet bench` names it."""
    if test.kind == "tg":
        return f"tg{tokens}" + (f" @ d{test.size}" if test.size else "")
    return f"pp{test.size}" if test.kind == "pp" else test.kind


def is_speed(test):
    """Tokens a second, of which more is better; all else is better if less."""
    return test.kind in ("tg", "pp")


def sizes(test, tokens):
    return ["-p", "0", "-n", str(tokens)] if test.kind == "tg" else ["-p", str(test.size), "-n", "0"]


def depth(test):
    return test.size if test.kind == "tg" else 0


def spawn(command):
    """Run to the end. Seconds are counted from just before the process is made."""
    command = [str(c) for c in command]
    with tempfile.TemporaryFile() as errors:
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
        pid, out, first_byte = None, [], None
        try:
            start = time.perf_counter()
            try:
                pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsigdef=[signal.SIGPIPE])
            except OSError as error:
                raise Failed(f"{command[0]}: {error.strerror}")
            os.close(writer)
            writer = None
            while True:
                piece = os.read(reader, 1 << 16)
                if not piece:
                    break
                if first_byte is None:
                    first_byte = time.perf_counter() - start
                out.append(piece)
            _, status, usage = os.wait4(pid, 0)
            pid = None
        finally:
            for descriptor in (reader, writer, null):
                if descriptor is not None:
                    os.close(descriptor)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if status:
            ending = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()[-1000:]
            raise Failed(f"{' '.join(command)}: {ending}\n{said}")
        return Ended(b"".join(out), first_byte, usage)


def drop_from_cache(path):
    """Ask the system to forget the file's pages. Needs no rights; pages that another process maps stay."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def first_row(command, output):
    """The row of a benchmark's JSON."""
    try:
        (row,) = json.loads(output)
        return row
    except (ValueError, TypeError):
        raise Failed(f"{command[0]}: stdout: expected a JSON list of one row, got {output[:200]!r}")


def field(command, row, name, kind):
    if not isinstance(row.get(name), kind):
        raise Failed(f"{command[0]}: {name}: expected {' or '.join(k.__name__ for k in kind)}, got {row.get(name)!r}")
    return row[name]


class Contender:
    """A program with one of a model's files: `file` is a form or a GGUF type, `path(model)` where it lies."""

    def __init__(self, name, program, file, path):
        self.name, self.program, self.file, self.path = name, program, file, path

    def key(self):
        return f"{self.name} {self.file}"

    def timed_run(self, task, settings, flags):
        command = self.run_command(task, settings, flags)
        if task.test.kind == "rss":
            return {"value": spawn(command).usage.ru_maxrss * 1024}
        sample = {}
        if task.test.kind == "ttft-cold":
            drop_from_cache(self.path(task.model))
            drop_from_cache(command[0])
        else:
            spawn(command)
        ended = spawn(command)
        if ended.first_byte is None:
            raise Failed(f"{' '.join(map(str, command))}: stdout: expected text, got nothing")
        sample["value"] = ended.first_byte
        sample["read_bytes"] = ended.usage.ru_inblock * 512
        return sample

    def prompt(self, task, settings):
        if task.test.kind == "rss":
            return ["-f", settings["rss_prompt"], "-n", str(RSS_TOKENS)]
        return ["-p", settings["prompt"], "-n", "1"]


class Kinglet(Contender):
    is_kinglet = True

    def __init__(self, name, program, file, path, isa):
        super().__init__(name, program, file, path)
        self.isa = ["--isa", isa] if isa else []

    def variants(self, _task):
        return {"": []}

    def run_command(self, task, settings, flags):
        return [self.program, "run", "-m", self.path(task.model), "-t", str(task.threads), "-c", str(CONTEXT), "--temp", "0",
                "--ignore-eos", *self.isa, *flags, *self.prompt(task, settings)]

    def measure(self, task, settings, flags):
        test = task.test
        if not is_speed(test):
            return self.timed_run(task, settings, flags)
        command = [self.program, "bench", "-m", self.path(task.model), "-t", str(task.threads), "-r", "1", "-o", "json",
                   "-d", str(depth(test)), *self.isa, *sizes(test, settings["tokens"])]
        row = first_row(command, spawn(command).out)
        expected = title(test, settings["tokens"])
        if field(command, row, "test", (str,)) != expected:
            raise Failed(f"{command[0]}: test: expected {expected!r}, got {row['test']!r}")
        return {"value": field(command, row, "tokens_per_second", (int, float)), "logits": field(command, row, "logits", (str,)),
                "isa": row.get("isa"), "memory_bytes_per_second": row.get("memory_bytes_per_second")}


class Peer(Contender):
    is_kinglet = False
    flags_of = {}

    def knows(self, program, *flags):
        """Whether the program's help names all the flags."""
        if program not in self.flags_of:
            try:
                done = subprocess.run([str(program), "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            except OSError as error:
                raise Failed(f"{program}: {error.strerror}")
            self.flags_of[program] = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout.decode(errors="replace")))
        return self.flags_of[program].issuperset(flags)

    def runner(self):
        """What continues a text, beside llama-bench."""
        for name in ("llama-completion", "llama-cli"):
            path = pathlib.Path(self.program).parent / name
            if path.is_file() and self.knows(path, "--no-display-prompt"):
                return path
        raise Failed(f"{pathlib.Path(self.program).parent}: neither llama-completion nor llama-cli with --no-display-prompt there")

    def variants(self, task):
        """Ways to run a test, of which the peer is given its best; the first is its default."""
        test = task.test
        if test.kind.startswith("ttft"):
            runner, ways = self.runner(), {"default": []}
            for flag, name in ((["--no-warmup"], "no warm-up"), (["-fit", "off"], "no fit"), (["--no-repack"], "no repack")):
                if self.knows(runner, flag[0]):
                    last, before = list(ways.items())[-1]
                    ways[f"{last}, {name}" if before else name] = before + flag
            return ways
        if test.kind == "rss":
            attention = ["-fa", "on"] if self.knows(self.runner(), "-fit") else []  # older programs have a switch, or have it on
            return {"f16 cache": [], "q8_0 cache": ["-ctk", "q8_0", "-ctv", "q8_0", *attention]}
        ways = {"": []}
        if depth(test) > 0 or test.size >= LONG_PROMPT:
            ways = {"f16": ["-fa", "0"], "f16, fa": ["-fa", "1"], "q8_0, fa": ["-ctk", "q8_0", "-ctv", "q8_0", "-fa", "1"]}
        if self.knows(self.program, "-rtr"):  # ik_llama.cpp repacks only when told to
            ways.update({f"{name}, repacked" if name else "repacked": flags + ["-rtr", "1"] for name, flags in list(ways.items())})
        return ways

    def run_command(self, task, settings, flags):
        runner = self.runner()
        conversation = ["-no-cnv"] if self.knows(runner, "-no-cnv") else []
        return [runner, "-m", self.path(task.model), "-t", str(task.threads), "-c", str(CONTEXT), "--temp", "0",
                "--ignore-eos", "--no-display-prompt", *conversation, *flags, *self.prompt(task, settings)]

    def measure(self, task, settings, flags):
        test = task.test
        if not is_speed(test):
            return self.timed_run(task, settings, flags)
        wanted = sizes(test, settings["tokens"])
        if depth(test) == 0:
            pass
        elif self.knows(self.program, "-d"):
            wanted += ["-d", str(depth(test))]
        elif self.knows(self.program, "-gp"):  # as ik_llama.cpp says the same
            wanted = ["-p", "0", "-n", "0", "-gp", f"{depth(test)},{settings['tokens']}"]
        else:
            raise Failed(f"{self.program}: knows neither -d nor -gp, so that it cannot generate at a depth")
        command = [self.program, "-m", self.path(task.model), "-t", str(task.threads), "-r", "1", "-o", "json", *wanted, *flags]
        row = first_row(command, spawn(command).out)
        return {"value": field(command, row, "avg_ts", (int, float)), "peer_commit": row.get("build_commit")}
