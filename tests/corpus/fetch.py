#!/usr/bin/env python3
"""Get the six novels by Jane Austen (public domain) as plain text files, from Debian's package r-cran-janeaustenr.

    python3 tests/corpus/fetch.py OUT_DIR [--deb FILE]

Needs `apt-get` (of Debian 12 or a later one that carries the same novels) and `dpkg-deb`, or with `--deb` only the latter;
no R and no Python package. Every file is compared with the SHA-256 known here before it is written.

The package keeps each novel as a vector of lines in R's lazy-load format: `Rdata.rdb` is a run of compressed objects, and
`Rdata.rdx` says under which name each begins. Objects are R's binary serialisation, of which this script reads the few
kinds of value that occur.
"""
import argparse
import hashlib
import pathlib
import struct
import subprocess
import tempfile
import zlib

PACKAGE = "r-cran-janeaustenr"
SHA256 = {
    "emma": "7c67b5985c6d0de1efaeb5d342d52cb82c38083c40e2295129e30e87ee690ebe",
    "mansfieldpark": "98bc90519cdf4ef663ad7de2734bb529435ef24f7abbde6bb1a50898871dafe9",
    "northangerabbey": "51f91bbe0517db8e65cff009b097ce0a1836124c4e0532ac19e6c0cad982abed",
    "persuasion": "8061549557aebd2fd6e353d18d9197cb707029112bd52d4d8b174583a925848a",
    "prideprejudice": "dfc684d4f857fa938268f9ab9c5567b64bd0691251eca959644adeabe6287a4d",
    "sensesensibility": "105e1651fe93bed7130078578efd31e0c557d68667ba672ddc876f735b30fe09",
}


class Reader:
    """One serialised R value, big-endian: a word of flags (the kind in its low byte), then the value's own parts."""

    def __init__(self, data):
        if data[:2] != b"X\n":
            raise ValueError("not an R object in binary form")
        self.data, self.at, self.symbols = data, 2, []
        version, _, _ = self.ints(3)
        if version == 3:
            self.bytes(self.ints(1)[0])  # the native encoding's name

    def bytes(self, n):
        self.at += n
        return self.data[self.at - n : self.at]

    def ints(self, n):
        return struct.unpack(f">{n}i", self.bytes(4 * n))

    def value(self):
        flags = self.ints(1)[0]
        kind, has_attributes = flags & 0xFF, flags & 0x200
        if kind == 254:  # NULL
            return None
        if kind == 255:  # a symbol met before
            return self.symbols[(flags >> 8) - 1]
        if kind == 1:  # symbol
            self.symbols.append(self.value())
            return self.symbols[-1]
        if kind == 2:  # linked list: [(tag, value), ...]
            pairs = []
            while kind == 2:
                if has_attributes:
                    self.value()
                tag = self.value() if flags & 0x400 else None
                pairs.append((tag, self.value()))
                flags = self.ints(1)[0]
                kind, has_attributes = flags & 0xFF, flags & 0x200
            return pairs
        if kind == 9:  # one string
            n = self.ints(1)[0]
            return None if n == -1 else self.bytes(n).decode("utf-8")
        n = self.ints(1)[0]
        if kind in (10, 13):  # logical, integer
            items = list(self.ints(n))
        elif kind in (16, 19):  # strings, list
            items = [self.value() for _ in range(n)]
        else:
            raise ValueError(f"R value of kind {kind} is not expected here")
        names = dict(self.value()).get("names") if has_attributes else None
        return dict(zip(names, items)) if names else items


def novels(data_dir):
    """{name: text} of a package's `data` folder."""
    index = Reader(zlib.decompress((data_dir / "Rdata.rdx").read_bytes(), wbits=47)).value()
    heap = (data_dir / "Rdata.rdb").read_bytes()
    texts = {}
    for name, (offset, length) in index["variables"].items():
        size = struct.unpack(">I", heap[offset : offset + 4])[0]
        raw = zlib.decompress(heap[offset + 4 : offset + length])
        if len(raw) != size:
            raise ValueError(f"{name}: {len(raw)} bytes instead of {size}")
        texts[name] = "".join(line + "\n" for line in Reader(raw).value())
    return texts


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("out", type=pathlib.Path)
    cli.add_argument("--deb", type=pathlib.Path, help="the package, if it is here already")
    args = cli.parse_args()
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        if args.deb is None:
            work.chmod(0o777)  # apt drops its privileges for the download
            subprocess.run(["apt-get", "-qq", "download", PACKAGE], cwd=work, check=True)
            args.deb = next(work.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(args.deb), str(work / "x")], check=True)
        texts = novels(next((work / "x").rglob("Rdata.rdx")).parent)
    for name, known in SHA256.items():
        raw = texts[name].encode("utf-8")
        if hashlib.sha256(raw).hexdigest() != known:
            raise SystemExit(f"{name}: the package holds another text than the one known here")
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{name}.txt").write_bytes(raw)
    print(args.out)


if __name__ == "__main__":
    main()
