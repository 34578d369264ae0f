"""From samples to rows: medians, spread, ratios; and the rows as a table.

A ratio says how many times better Kinglet is: tokens a second are divided by the peer's, the peer's seconds and bytes by
Kinglet's. Beside the ratio of the medians stand the least and the greatest ratio of a round, in which both ran in turn.
"""
import statistics

from measure import Task, Test, is_speed, title

HEAD = ["test", "threads", "Kinglet", "median (least to greatest)", "peer", "median (least to greatest)", "ratio", "by round", "logits"]
RIGHT = {"threads", "ratio"}
ALONE = {}


def task_of(sample):
    return Task(sample["model"], Test(sample["kind"], sample["size"]), sample["threads"])


def best_variant(samples, task, contender):
    """The variant with the best median over the rounds on trial; None if all failed or none ran."""
    values = {}
    for s in samples:
        if s["contender"] == contender and s["trial"] and "value" in s and task_of(s) == task:
            values.setdefault(s["variant"], []).append(s["value"])
    if not values:
        return None
    return (max if is_speed(task.test) else min)(values, key=lambda variant: statistics.median(values[variant]))


def side(samples, task, contender):
    """What a contender did in a task: its values by round, or why there are none."""
    own = [s for s in samples if s["contender"] == contender and task_of(s) == task]
    if not own:
        return None
    refused = [s["refused"] for s in own if s.get("refused")]
    hashes = sorted({s["logits"] for s in own if "logits" in s})
    if not refused and len(hashes) > 1:
        refused = [f"logits: expected the same in every round, got {', '.join(hashes)}"]
    variant = best_variant(samples, task, contender)
    own_variant = [s for s in own if s["variant"] == variant and "value" in s]
    values = {s["round"]: s["value"] for s in own_variant}
    made = {"contender": contender, "file": own[0]["file"], "name": own[0]["name"], "variant": variant}
    if hashes:
        made["logits"] = hashes
    if refused:
        return {**made, "refused": refused[0]}
    if not values:
        return {**made, "failed": own[0]["failed"]}
    every = list(values.values())
    if any(s.get("warm") for s in own_variant):
        made["warm"] = True
    if any(s.get("no_golden") for s in own_variant):
        made["no_golden"] = True
    return {**made, "values": values, "median": statistics.median(every), "least": min(every), "greatest": max(every),
            "deviation": statistics.stdev(every) if len(every) > 1 else None}


def row(samples, task, tokens, ours, theirs):
    """A contender beside another, or alone; None where one of them has not run."""
    left = side(samples, task, ours)
    right = side(samples, task, theirs) if theirs else ALONE
    if left is None or right is None:
        return None
    made = {"model": task.model, "test": title(task.test, tokens), "threads": task.threads, "kinglet": left, "peer": right,
            "unit": "tokens/s" if is_speed(task.test) else "bytes" if task.test.kind == "rss" else "s"}

    def ratio(a, b):
        return a / b if is_speed(task.test) else b / a

    if "values" in left and "values" in right:
        made["ratio"] = ratio(left["median"], right["median"])
        each = [ratio(left["values"][r], right["values"][r]) for r in left["values"] if r in right["values"]]
        if each:
            made.update(ratio_least=min(each), ratio_greatest=max(each), rounds=len(each))
    return made


def shown(value, unit):
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if unit == "s":
        return f"{value:.3f} s" if value < 10 else f"{value:.1f} s"
    return f"{value:,.2f} t/s" if value < 10 else f"{value:,.1f} t/s"


def cell(side, unit):
    if not side:
        return "–"
    if "refused" in side:
        return f"REFUSED: {side['refused']}"
    if "failed" in side:
        return "FAILED"
    marks = " (not cold)" if side.get("warm") else ""
    return f"{shown(side['median'], unit)} ({shown(side['least'], unit).split()[0]} to {shown(side['greatest'], unit).split()[0]}){marks}"


def label(side):
    return "–" if not side else f"{side['name']} {side['file']}" + (f" ({side['variant']})" if side["variant"] else "")


def table(rows, files):
    """Markdown, one table a model."""
    lines = []
    for model in dict.fromkeys(r["model"] for r in rows):
        own = [r for r in rows if r["model"] == model]
        used = dict.fromkeys(s["file"] for r in own for s in (r["kinglet"], r["peer"]) if s)
        sizes = ", ".join(f"{file} {files[f'{model}.{file}']['bytes'] / 1e6:,.1f} MB" for file in used)
        lines += [f"### {model}", "", f"Files: {sizes}.", "", f"| {' | '.join(HEAD)} |"]
        lines.append(f"| {' | '.join('---:' if name in RIGHT else '---' for name in HEAD)} |")
        for r in own:
            ours, theirs = r["kinglet"], r["peer"]
            logits = ", ".join(ours.get("logits", [])) + (" (no golden)" if ours.get("no_golden") else "")
            ratio = f"{r['ratio']:.2f}" if "ratio" in r else "–"
            rounds = f"{r['ratio_least']:.2f} to {r['ratio_greatest']:.2f}" if "rounds" in r else "–"
            cells = [r["test"], str(r["threads"]), label(ours), cell(ours, r["unit"]), label(theirs), cell(theirs, r["unit"]), ratio, rounds,
                     logits or "–"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
