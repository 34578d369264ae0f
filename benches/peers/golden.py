"""The logits hashes that Kinglet's rows must show: golden.json.

`kinglet bench` evaluates the same tokens everywhere, and prints the start of the SHA-256 of the last logits. It depends on
the file's bytes, on the number of tokens and on the depth, and on nothing else: not on machine, instruction set, threads or
batch. A hash belongs to a file, so the file's own SHA-256 stands beside it.
"""
import json
import os
import pathlib

from prepare import Failed

PATH = pathlib.Path(__file__).resolve().parent / "golden.json"


class Golden:
    def __init__(self, path=PATH):
        self.path = path
        try:
            self.files = json.loads(path.read_text())
        except FileNotFoundError:
            self.files = {}
        except ValueError as error:
            raise Failed(f"{path}: expected JSON: {error}")

    def judge(self, file, sha256, title, logits):
        """None if all is well, else why the row is refused; "" if there is nothing to compare with."""
        entry = self.files.get(file)
        if entry is None:
            return ""
        if entry.get("sha256") != sha256:
            return f"the golden hash is of another file: sha256 {str(entry.get('sha256'))[:16]}…, this one {sha256[:16]}…"
        expected = entry.get("logits", {}).get(title)
        if expected is None:
            return ""
        return None if expected == logits else f"logits: expected {expected}, got {logits}"

    def bless(self, file, sha256, title, logits):
        """Take a hash; what it replaced, if it was another."""
        entry = self.files.get(file)
        if entry is None or entry.get("sha256") != sha256:
            self.files[file] = entry = {"sha256": sha256, "logits": {}}
        before = entry["logits"].get(title)
        entry["logits"][title] = logits
        partial = self.path.with_suffix(".partial-json")
        partial.write_text(json.dumps(self.files, indent=1, sort_keys=True) + "\n")
        os.replace(partial, self.path)
        return before if before != logits else None
