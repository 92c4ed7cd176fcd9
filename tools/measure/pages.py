"""Sections of the pages in perf/, each beside the raw figures that it was made of."""

import datetime
import os
import pathlib
import re
import shlex
import subprocess
import sys

import machine
from common import TOP, say


def publish(kind, section, text, options, figures, page):
    """Prints a section; with --record it goes into the page, and the figures to perf/results/."""
    note = ""
    if options.record:
        path = machine.write_figures(TOP / "perf", kind, options.context, figures)
        note = f" Raw figures: [{path.name}](results/{path.name})."
    record(section, text, options, page, note)


def record(section, text, options, page, note):
    """Prints a section, and with --record puts it in place of the old one in a page of perf/."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=TOP, capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0]
    words = shlex.join(word for word in sys.argv[1:] if word != "--record")
    head = f"`tools/{pathlib.Path(sys.argv[0]).name}{' ' + words if words else ''}`, {datetime.date.today()}, commit {commit}, load average {load:.1f} at its end.{note}"
    body = f"## {section}\n\n{head}\n\n{text.strip()}\n"
    say(body)
    if options.record:
        path = TOP / "perf" / page
        path.write_text(with_section(path.read_text(), section, body))


def with_section(page, section, body):
    """The page with this section in place of the old one, or at its end."""
    pattern = re.compile(rf"^## {re.escape(section)}\n.*?(?=^## |\Z)", re.M | re.S)
    if pattern.search(page):
        new = pattern.sub(lambda _: body + "\n", page)
    else:
        new = page.rstrip() + "\n\n" + body
    return new.rstrip() + "\n"
