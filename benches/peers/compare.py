#!/usr/bin/env python3
"""Kinglet beside llama.cpp on the same weights, interleaved: round after round, one after the other.

    compare.py --kinglet target/release/kinglet --model q4.kgl --peer LLAMA_BENCH --gguf Q4_0.gguf [--rounds 5]
               [--threads 2] [--depths 0,4096] [-p 512] [-n 64] [--json OUT]

The machine's noise hits both alike, so the figures to quote are the ratios: of the medians, and the least and the
greatest of the rounds. For a depth other than 0 the peer runs with an f16 and with a q8_0 cache, and the better of the
two is taken. Needs nothing but Python 3.8.
"""
import argparse
import json
import statistics
import subprocess
import sys


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def kinglet(args, test, depth):
    sizes = ["-p", str(args.prompt), "-n", "0"] if test == "pp" else ["-p", "0", "-n", str(args.tokens)]
    command = [args.kinglet, "bench", "-m", args.model, "-t", str(args.threads), "-d", str(depth), "-r", "1", "-o", "json", *sizes]
    rows = run(command)
    rows = rows["rows"] if isinstance(rows, dict) else rows
    (row,) = [r for r in rows if r["test"].startswith(test)]
    return row["tokens_per_second"], row["logits"]


def peer(args, test, depth, cache):
    sizes = ["-p", str(args.prompt), "-n", "0"] if test == "pp" else ["-p", "0", "-n", str(args.tokens)]
    command = [args.peer, "-m", args.gguf, "-t", str(args.threads), "-d", str(depth), "-r", "1", "-o", "json", *sizes]
    if cache != "f16":
        command += ["-ctk", cache, "-ctv", cache, "-fa", "1"]
    return run(command)[0]["avg_ts"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kinglet", "model", "peer", "gguf"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depths", default="0,4096")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--tokens", type=int, default=64)
    parser.add_argument("--json")
    args = parser.parse_args()
    depths = [int(d) for d in args.depths.split(",")]
    tests = [("pp", 0)] + [("tg", d) for d in depths]
    ours = {test: [] for test in tests}
    theirs = {test: [] for test in tests}
    hashes = {test: set() for test in tests}
    for number in range(args.rounds):
        for test in tests:
            caches = ["f16"] if test[1] == 0 else ["f16", "q8_0"]
            speed, logits = kinglet(args, *test)
            ours[test].append(speed)
            hashes[test].add(logits)
            theirs[test].append(max(peer(args, *test, cache) for cache in caches))
            name = f"{test[0]}{args.prompt if test[0] == 'pp' else args.tokens} @ d{test[1]}"
            print(f"round {number + 1}: {name}: {ours[test][-1]:.1f} against {theirs[test][-1]:.1f} tokens/s", file=sys.stderr)
    rows = []
    for test in tests:
        if len(hashes[test]) != 1:
            sys.exit(f"{test}: the logits changed between rounds: {sorted(hashes[test])}")
        ratios = [a / b for a, b in zip(ours[test], theirs[test])]
        rows.append({
            "test": f"{test[0]}{args.prompt if test[0] == 'pp' else args.tokens}" + (f" @ d{test[1]}" if test[1] else ""),
            "kinglet": statistics.median(ours[test]), "peer": statistics.median(theirs[test]),
            "ratio": statistics.median(ours[test]) / statistics.median(theirs[test]),
            "least": min(ratios), "greatest": max(ratios), "logits": hashes[test].pop(),
        })
    print("| test | kinglet, t/s | peer, t/s | ratio of medians | least to greatest round | logits |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for r in rows:
        print(f"| {r['test']} | {r['kinglet']:.1f} | {r['peer']:.1f} | {r['ratio']:.2f} | {r['least']:.2f} to {r['greatest']:.2f} | {r['logits']} |")
    if args.json:
        with open(args.json, "w") as out:
            json.dump({"threads": args.threads, "rounds": args.rounds, "rows": rows}, out, indent=1)


main()
