#!/usr/bin/env python3
"""Kinglet beside llama.cpp on the same weights, interleaved: in every round each test runs on each side, in turn.

    compare.py WORK_DIR                 all of it: builds, files, every test; see README.md for how long that takes
    compare.py WORK_DIR --quick         one round of a few tests of SmolLM2
    compare.py WORK_DIR --models llama-1b --tests tg0,tg4096 --threads 2 --rounds 3
    compare.py WORK_DIR --peer ik=IK_BUILD/bin/llama-bench          one more peer
    compare.py WORK_DIR --kinglet old=OLD --kinglet new=NEW --builds ''   two of Kinglet's own

tgD: -n tokens one by one behind D tokens; ppN: N tokens at once; ttft: seconds from the start of the process to the first
text, page cache cold and warm; rss: peak resident memory of a run. The table goes to stdout, progress to stderr, everything
to the JSON, after every measurement. Exit code: 0 done, 1 a row was refused or failed, 2 wrong usage, 130 interrupted.
Needs Python 3.8; for the preparation also cargo, a C++ compiler and the package index.
"""
import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time

import prepare
import report
from golden import Golden
from measure import Kinglet, Peer, Task, is_speed, parse_tests, title, RSS_SENTENCES, SENTENCE
from prepare import Failed, say

FULL = {
    "models": "smollm2,llama-1b,qwen-0.5b", "pairs": "q4:Q4_0,q4:Q4_K_M,q4e:Q4_0,q8:Q8_0", "builds": "native,avx2",
    "tests": "tg0,tg1024,tg4096,pp128,pp512,pp4096,ttft,rss", "threads": "1,2", "rounds": 5, "tokens": 64,
}
QUICK = {**FULL, "models": "smollm2", "pairs": "q4:Q4_0,q8:Q8_0", "builds": "native", "tests": "tg0,pp128,ttft", "threads": "2",
         "rounds": 1, "tokens": 16}
PROMPT = SENTENCE + "One day"
COLD_SHARE = 0.5  # of the file must come from the disk, or the cache was not cold
BUSY = 0.5  # load of a machine that is not idle
MUST_AGREE = ("tokens", "trial_rounds", "isa", "prompt", "programs", "files")  # between the parts of a resumed run


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", metavar="WORK_DIR", type=pathlib.Path)
    parser.add_argument("--models", metavar="NAME,...", help=f"default: {FULL['models']}")
    parser.add_argument("--pairs", metavar="FORM:TYPE,...", help=f"Kinglet's and the peers' files to compare; default: {FULL['pairs']}")
    parser.add_argument("--builds", metavar="NAME,...", help=f"builds of llama.cpp; may be empty; default: {FULL['builds']}")
    parser.add_argument("--peer", metavar="[NAME=]PATH", action="append", default=[], help="llama-bench of another build")
    parser.add_argument("--kinglet", metavar="[NAME=]PATH", action="append", default=[], help="this program instead of the one built here")
    parser.add_argument("--isa", help="kernels that Kinglet is to use")
    parser.add_argument("--tests", metavar="TEST,...", help=f"default: {FULL['tests']}")
    parser.add_argument("--threads", metavar="N,...", help=f"default: {FULL['threads']}")
    parser.add_argument("--rounds", metavar="N", type=int, help=f"default: {FULL['rounds']}")
    parser.add_argument("--trial-rounds", metavar="N", type=int, default=1, help="rounds in which a peer runs all its variants; then its best; default: 1")
    parser.add_argument("-n", "--tokens", metavar="N", type=int, help=f"tokens that are generated; default: {FULL['tokens']}")
    parser.add_argument("--prompt", default=PROMPT, help="the prompt of ttft")
    parser.add_argument("--quick", action="store_true", help="smaller defaults: one round of a few tests of SmolLM2")
    parser.add_argument("--json", metavar="OUT", type=pathlib.Path, help="default: WORK_DIR/compare.json")
    parser.add_argument("--resume", action="store_true", help="go on where the run that left the JSON was interrupted")
    parser.add_argument("--bless", action="store_true", help="run Kinglet alone, once, and write the hashes of its logits to golden.json")
    args = parser.parse_args()

    def names(option, known):
        chosen = list(dict.fromkeys(filter(None, getattr(args, option).split(","))))
        for name in chosen:
            if name not in known:
                parser.error(f"--{option}: expected some of {', '.join(known)}, got {name!r}")
        return chosen

    for option, default in (QUICK if args.quick else FULL).items():
        if getattr(args, option) is None:
            setattr(args, option, default)
    args.models, args.builds = names("models", prepare.MODELS), names("builds", prepare.BUILDS)
    try:
        args.pairs = [tuple(pair.split(":")) for pair in args.pairs.split(",")]
        if not all(len(pair) == 2 and pair[0] in prepare.FORMS and pair[1] for pair in args.pairs):
            raise ValueError
    except ValueError:
        parser.error(f"--pairs: expected FORM:TYPE, where FORM is one of {', '.join(prepare.FORMS)}, such as {FULL['pairs']}")
    try:
        args.tests = [test for name in args.tests.split(",") for test in parse_tests(name)]
    except ValueError as error:
        parser.error(f"--tests: expected tgDEPTH, ppN, ttft or rss, got {error}")
    try:
        args.threads = [int(n) for n in args.threads.split(",")]
        if min(args.threads) < 1:
            raise ValueError
    except ValueError:
        parser.error(f"--threads: expected numbers above 0, got {args.threads!r}")
    if min(args.rounds, args.tokens, args.trial_rounds) < 1:
        parser.error("--rounds, --trial-rounds, --tokens: expected numbers above 0")
    if args.bless:
        args.builds, args.peer, args.rounds, args.threads = [], [], 1, [max(args.threads)]
        args.tests = [test for test in args.tests if is_speed(test)]
    args.work = args.work.resolve()
    args.json = args.json or args.work / ("bless.json" if args.bless else "compare.json")
    return args


def named_paths(option, given, file, default_name):
    """{ name: path } of NAME=PATH or PATH; a folder means the program of that name in it."""
    made = {}
    for text in given:
        name, equals, path = text.partition("=")
        path = pathlib.Path(path if equals else text).resolve()
        if path.is_dir():
            path = path / file
        if not path.is_file() or not os.access(path, os.X_OK):
            raise Failed(f"{option} {text}: {path} is no program")
        name = name if equals else default_name(path)
        if name in made:
            raise Failed(f"{option} {text}: the name {name} is taken; say NAME=PATH")
        made[name] = path
    return made


def version(program):
    try:
        done = subprocess.run([str(program), "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip()
    except OSError as error:
        raise Failed(f"{program}: {error.strerror}")


def machine():
    cpu = {}
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                key, _, value = line.partition(":")
                cpu.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    picked = {key: cpu[key] for key in ("model name", "cpu family", "model", "cache size") if key in cpu}
    return {"cpu": picked or platform.processor(), "cores": os.cpu_count(), "system": platform.platform()}


def commit():
    """The commit of this tree, with a plus if there are changes."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=prepare.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=prepare.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "") if head.returncode == 0 else None


class Comparison:
    def __init__(self, args):
        self.args, self.golden, self.samples, self.wrong = args, Golden(), [], False
        self.built = None
        forms, kinds = dict.fromkeys(f for f, _ in args.pairs), dict.fromkeys(k for _, k in args.pairs)
        self.kinglets = named_paths("--kinglet", args.kinglet, "kinglet", lambda path: path.name)
        peers = named_paths("--peer", args.peer, "llama-bench", lambda path: path.parent.name)
        args.work.mkdir(parents=True, exist_ok=True)
        if args.builds:
            prepare.tools(args.work, args.builds)
        if not self.kinglets:
            self.kinglets = {"kinglet": self.cargo()[0]}
        for build in args.builds:
            if build in peers:
                raise Failed(f"--peer {build}=…: the name is taken by a build; leave it out of --builds or say another")
        self.peers = {**{build: args.work / build / "llama-bench" for build in args.builds}, **peers}
        self.files = prepare.files(args.work, args.models, forms, kinds if self.peers else [], lambda: self.cargo()[1])
        self.settings = {"tokens": args.tokens, "prompt": args.prompt, "rss_prompt": args.work / "prompt.txt"}
        self.settings["rss_prompt"].write_text(SENTENCE * RSS_SENTENCES)
        self.head = {
            "machine": machine(), "commit": commit(), "tokens": args.tokens, "trial_rounds": args.trial_rounds, "isa": args.isa, "prompt": args.prompt,
            "load_at_start": os.getloadavg()[0], "files": self.files,
            "programs": {name: {"path": str(path), "sha256": prepare.sha256(path), "version": version(path)}
                         for name, path in {**self.kinglets, **self.peers}.items()},
        }

    def cargo(self):
        if self.built is None:
            self.built = prepare.cargo_build()
        return self.built

    def contenders(self):
        """In the order of a round: each form of Kinglet's, then the files it is compared with."""
        made = {}
        for form in dict.fromkeys(form for form, _ in self.args.pairs):
            ours = [Kinglet(name, path, form, lambda m, f=form: prepare.kgl_path(self.args.work, m, f), self.args.isa)
                    for name, path in self.kinglets.items()]
            theirs = [Peer(name, path, kind, lambda m, k=kind: prepare.gguf_path(self.args.work, m, k))
                      for f, kind in self.args.pairs if f == form for name, path in self.peers.items()]
            for contender in ours + theirs:
                made.setdefault(contender.key(), contender)
        return list(made.values())

    def tasks(self):
        for model in self.args.models:
            for test in self.args.tests:
                # Memory hardly depends on threads.
                for threads in [max(self.args.threads)] if test.kind == "rss" else self.args.threads:
                    yield Task(model, test, threads)

    def open_json(self):
        path = self.args.json
        if self.args.resume:
            try:
                before = json.loads(path.read_text())
                for name in MUST_AGREE:
                    was, now = before["head"][name], json.loads(json.dumps(self.head[name]))
                    common = [k for k in was if k in now] if isinstance(was, dict) else []
                    changed = [k for k in common if was[k] != now[k]] if isinstance(was, dict) else [was] * (was != now)
                    if changed:
                        raise Failed(f"--resume {path}: {name} changed ({changed[0]}); start anew, without --resume")
                # What failed or was interrupted is tried again.
                self.samples = [s for s in before["samples"] if "value" in s and not s.get("refused")]
                self.head["load_at_start"] = max(self.head["load_at_start"], before["head"]["load_at_start"])
                for name in ("files", "programs"):
                    self.head[name] = {**before["head"][name], **self.head[name]}
            except FileNotFoundError:
                raise Failed(f"--resume {path}: no such file")
            except (ValueError, KeyError, TypeError) as error:
                raise Failed(f"--resume {path}: not what this program wrote: {error!r}")
        elif path.exists():
            os.replace(path, f"{path}.previous")
            say(f"{path} is kept as {path.name}.previous")

    def save(self, **more):
        partial = self.args.json.with_name(self.args.json.name + ".partial-json")
        partial.write_text(json.dumps({"head": self.head, **more, "samples": self.samples}, indent=1) + "\n")
        os.replace(partial, self.args.json)

    def rows(self):
        first, *others = self.kinglets
        made = []
        for task in self.tasks():
            def add(ours, theirs):
                row = report.row(self.samples, task, self.args.tokens, ours, theirs)
                if row:
                    made.append(row)

            for form in dict.fromkeys(form for form, _ in self.args.pairs):
                for other in others:
                    add(f"{other} {form}", f"{first} {form}")
                if not others and not self.peers:
                    add(f"{first} {form}", None)
            for form, kind in self.args.pairs:
                for kinglet in self.kinglets:
                    for peer in self.peers:
                        add(f"{kinglet} {form}", f"{peer} {kind}")
        return made

    def variants(self, contender, task, number):
        """All in the rounds on trial, the best of them afterwards; none where all failed."""
        if number >= self.args.trial_rounds:
            best = report.best_variant(self.samples, task, contender.key())
            return {} if best is None else {best: contender.variants(task)[best]}
        try:
            return contender.variants(task)
        except Failed:
            return {"": []}  # and `take` will say why

    def take(self, number, contender, task, variant, flags):
        where = {"round": number, "model": task.model, "kind": task.test.kind, "size": task.test.size, "threads": task.threads,
                 "contender": contender.key(), "name": contender.name, "file": contender.file, "variant": variant}
        if any(all(s[k] == v for k, v in where.items()) for s in self.samples):
            return
        named = f"round {number + 1}: {task.model} {title(task.test, self.args.tokens)}, {task.threads} thread{'s' * (task.threads > 1)}: {contender.key()}" + \
            (f" ({variant})" if variant else "")
        load, start = os.getloadavg()[0], time.time()
        try:
            sample = contender.measure(task, self.settings, flags)
        except Failed as error:
            self.wrong = True
            sample = {"failed": str(error)}
            say(f"{named}: FAILED: {error}")
        sample = {**where, "trial": number < self.args.trial_rounds, **sample, "load": load, "took": time.time() - start}
        if "value" in sample:
            unit = "tokens/s" if is_speed(task.test) else "bytes" if task.test.kind == "rss" else "s"
            say(f"{named}: {report.shown(sample['value'], unit)}")
            self.check(sample, contender, task)
        self.samples.append(sample)
        self.save()

    def check(self, sample, contender, task):
        key = f"{task.model}.{contender.file}"
        if task.test.kind == "ttft-cold" and sample["read_bytes"] < COLD_SHARE * self.files[key]["bytes"]:
            sample["warm"] = True
            say(f"  warning: only {sample['read_bytes']} bytes came from the disk: the page cache was not cold")
        if "logits" not in sample:
            return
        name, sha = title(task.test, self.args.tokens), self.files[key]["sha256"]
        if self.args.bless:
            before = self.golden.bless(key, sha, name, sample["logits"])
            if before:
                say(f"  {key}: {name}: the golden hash was {before}, is now {sample['logits']}")
            return
        verdict = self.golden.judge(key, sha, name, sample["logits"])
        if verdict:
            self.wrong = True
            sample["refused"] = verdict
            say(f"  REFUSED: {key}: {name}: {verdict}")
        elif verdict == "":
            sample["no_golden"] = True

    def run(self):
        self.open_json()
        if self.head["load_at_start"] > BUSY:
            say(f"warning: the machine is busy (load {self.head['load_at_start']:.2f}): figures will say little")
        contenders = self.contenders()
        for number in range(self.args.rounds):
            start = time.time()
            for task in self.tasks():
                # Every second round goes backwards, so that none always runs behind the same other.
                for contender in contenders if number % 2 == 0 else reversed(contenders):
                    for variant, flags in self.variants(contender, task, number).items():
                        self.take(number, contender, task, variant, flags)
            say(f"round {number + 1} of {self.args.rounds} took {(time.time() - start) / 60:.1f} minutes")

    def finish(self):
        rows = self.rows()
        self.save(rows=rows)
        if not self.args.bless:
            print(report.table(rows, self.head["files"]), end="", flush=True)
            if self.head["load_at_start"] > BUSY:
                print(f"\nThe machine was busy, with a load of {self.head['load_at_start']:.2f} at the start: not to be quoted.", flush=True)
        if any(s.get("no_golden") for s in self.samples):
            say("some rows have no golden hash to be held to; --bless with the same -n writes them")
        self.wrong = self.wrong or any("refused" in r["kinglet"] for r in rows)


def main():
    args = parse_arguments()

    def terminated(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminated)
    comparison = None
    try:
        comparison = Comparison(args)
        comparison.run()
        comparison.finish()
        say(f"everything is in {args.json}")
        return 1 if comparison.wrong else 0
    except Failed as error:
        say(f"compare.py: {error}")
        return 1
    except OSError as error:
        say(f"compare.py: {error.filename or ''}: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        if comparison and comparison.samples:
            comparison.finish()
            say(f"interrupted; {args.json} has what was measured, --resume goes on")
        else:
            say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
