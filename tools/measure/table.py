"""Rows that were judged (rows.py), as a table of Markdown."""

import rows as loads

# Name, figure, and how it is shown; each of both servers, with the ratio.
COLUMNS = (
    ("ops/s", "ops_s", ",.0f"), ("CPU µs/op", "server_cpu_us_op", ".2f"), ("p50 µs", "p50_us", ",.0f"),
    ("p99 µs", "p99_us", ",.0f"), ("p99.9 µs", "p99_9_us", ",.0f"), ("RSS MiB", "server_rss_mib", ",.0f"),
)


def lines(rows):
    """The table in lines of Markdown."""
    head = ["bytes", "conn × pipe"]
    for name, _, _ in COLUMNS:
        head += [f"{name} Apache", "zkore", "×"]
    with_responder = any("of_responder" in row["ratio"] for row in rows)
    if with_responder:
        head += ["ops/s responder", "zkore, of that", "CPU µs/op responder", "of zkore's"]
    head += ["client CPUs Apache", "zkore"]
    rule = "|---:|---|" + "---:|" * (len(head) - 2) + "---|---|"
    head += ["targets", "remarks"]
    return ["| " + " | ".join(head) + " |", rule, *(line(row, with_responder) for row in rows)]


def line(row, with_responder):
    def figure(name, key, form):
        return format(row["median"][name][key], form) if name in row["median"] else "–"

    cells = [str(row["value_bytes"]), f"{row['connections']} × {row['pipeline']}"]
    for _, key, form in COLUMNS:
        cells += [figure("apache", key, form), figure("zkore", key, form), ratio_cell(row, key)]
    if with_responder:
        cells += [figure("responder", "ops_s", ",.0f"), ratio_cell(row, "of_responder", ".0%")]
        cells += [figure("responder", "server_cpu_us_op", ".2f"), ratio_cell(row, "of_responder_cpu", ".0%")]
    cells += [figure("apache", "client_cpus", ".2f"), figure("zkore", "client_cpus", ".2f")]
    cells.append("; ".join(target["asked"] + ("" if target["met"] else " **missed**")
                           for target in row["targets"]))
    cells.append("; ".join(row["remarks"] + row["notes"]))
    return "| " + " | ".join(cells) + " |"


def ratio_cell(row, key, form=".2f"):
    """The ratio of the medians, and its least and most over the rounds where there were more than one."""
    if key not in row["ratio"]:
        return "–"
    spread = ""
    if loads.rounds_done(row) > 1 and key in row["spread"]:
        spread = f" ({'–'.join(format(value, form) for value in row['spread'][key])})"
    return f"**{row['ratio'][key]:{form}}**{spread}"
