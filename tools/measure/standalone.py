"""What tools/perf-compare writes of its rows: perf/standalone.md, two charts, and its part of README.md."""

import json
import re

import chart
import rows as loads
import table
from common import TOP
from machine import context_table, rounded
from rows import Load, load_of

# The rows that README.md shows.
README_LOADS = [
    Load("get", 100, 16, 1), Load("get", 100, 16, 16), Load("get", 100, 128, 64),
    Load("get", 100, 1000, 16), Load("get", 1024, 16, 16),
    Load("set", 100, 1, 1), Load("set", 100, 16, 1), Load("set", 100, 16, 16),
    Load("set", 100, 1000, 16), Load("set", 1024, 16, 16),
    Load("create", 100, 16, 16), Load("mixed 9:1", 100, 16, 1), Load("mixed 9:1", 100, 128, 16),
]

# Connections and pipeline of those in the charts, with values of so many bytes.
CHART_BYTES = 100
CHART_LOADS = [(1, 1), (16, 1), (16, 16), (128, 16), (128, 64), (1000, 1), (1000, 16)]

README_PART = re.compile(r"(<!-- measured: [^\n]*-->\n).*?(<!-- measured: end -->)", re.S)


def read(raw):
    """Context and rows of raw figures, judged as rows are judged now, whenever they were measured."""
    result = json.loads(raw.read_text())
    context, rows = result["context"], result["rows"]
    for row in rows:
        loads.judge(row)
    # Once only the rounds that were asked for were written down.
    context.setdefault("rounds_asked", context["rounds"])
    context["rounds"] = loads.rounds_text(rows)
    return context, rounded(rows)


def document(context, rows, raw):
    """perf/standalone.md."""
    lines = [
        "# zkore and Apache ZooKeeper, standalone", "",
        "Written by `tools/perf-compare`; [README.md](README.md) says what each figure means.", "",
        f"    {context['command']}", "",
        f"{context['rounds'].capitalize()}. {verdict(rows)}", "",
    ]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        group = [row for row in rows if row["operation"] == operation]
        lines += [f"## {operation}", "", *table.lines(group), ""]
    return "\n".join(lines + context_table(context, raw))


def verdict(rows):
    if not all("ops_s" in row["ratio"] for row in rows):
        return "Only one server was measured, or not all rows."
    good = [row for row in rows if not row["remarks"]]
    sentences = [
        f"{len(good)} of {len(rows)} rows reach at least 3 times Apache's throughput or at most a "
        "third of its processor time, with p99 and p99.9 no worse.",
        *loads.targets_sentence(rows),
    ]
    return " ".join(sentences) + " Each row says what it misses."


def compared(rows):
    """The rows in which both servers were measured, by their load."""
    return {load_of(row): row for row in rows if "ops_s" in row["ratio"]}


def charts(rows):
    """The charts, each a file name, a title and the SVG; none if nothing was compared."""
    known = compared(rows)
    names, columns = ("zkore", "Apache ZooKeeper"), ("connections × pipeline", "zkore to Apache")
    found = []
    for name, title, key, note in (
        ("throughput.svg", "Operations a second (more is better)", "ops_s",
         lambda ratio: f"{ratio:.1f} ×"),
        ("processor.svg", "Server processor time an operation, µs (less is better)", "server_cpu_us_op",
         lambda ratio: f"1/{1 / ratio:.1f}"),
    ):
        if groups := chart_groups(known, key, note):
            found.append((name, title, chart.pairs(title, names, columns, groups)))
    return found


def chart_groups(known, key, note):
    groups = []
    for operation in dict.fromkeys(load.operation for load in known):
        loads = [Load(operation, CHART_BYTES, *place) for place in CHART_LOADS]
        lines = [
            (f"{load.connections} × {load.pipeline}", row["median"]["zkore"][key],
             row["median"]["apache"][key], note(row["ratio"][key]))
            for load in loads if (row := known.get(load))
        ]
        if lines:
            groups.append((operation, lines))
    return groups


def readme_part(context, rows):
    """What README.md shows: the most telling rows, the charts, and how the targets are met."""
    known = compared(rows)
    lines = [
        f"{context['date'][:10]}, {context['cpu']}, `{context['command']}`, {context['rounds']}:", "",
        "| Load | zkore, operations a second | times Apache's | Processor time an operation, of Apache's "
        "| p99, of Apache's | p99.9, of Apache's |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for load in README_LOADS:
        if row := known.get(load):
            ratio = row["ratio"]
            lines.append(
                f"| {load.name} | {row['median']['zkore']['ops_s']:,.0f} "
                f"| {times(row)} | {ratio['server_cpu_us_op']:.2f} "
                f"| {ratio['p99_us']:.2f} | {ratio['p99_9_us']:.2f} |"
            )
    pictures = [f"![{title}](perf/{name})" for name, title, _ in charts(rows)]
    return "\n".join([*lines, "", *pictures, "", verdict(rows)])


def times(row):
    """How many times Apache's throughput, and from what to what over the rounds."""
    spread = ""
    if loads.rounds_done(row) > 1:
        spread = " ({:.1f}–{:.1f})".format(*row["spread"]["ops_s"])
    return f"{row['ratio']['ops_s']:.1f}{spread}"


def put_into_readme(text):
    """Puts the part in the place of the old one."""
    readme = TOP / "README.md"
    old = readme.read_text()
    new, count = README_PART.subn(lambda found: f"{found[1]}{text}\n{found[2]}", old)
    if count != 1:
        raise ValueError("README.md has no place for what was measured")
    readme.write_text(new)
