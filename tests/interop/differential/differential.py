"""Compares two ZooKeeper servers: the same requests, the same answers.

    differential.py --left host:port --right host:port [--suite NAME] [--seeds N] [--first N]

Prints each mismatch with its seed, a shrunk plan and both answers; ends with status 1 if any.
"""

import argparse
import itertools
import sys
import threading
import time

import gen
import runner
import scripts
import words

ROOTS = itertools.count(1)
SETTLE_OP = ["ping"]


def both(left, right, steps):
    """Runs `steps` on both servers at once; returns both traces."""
    root = f"/p{next(ROOTS):06d}"
    traces = {}
    errors = {}

    def one(side, address):
        try:
            traces[side] = runner.record(address, root, steps, SETTLE_OP[0])
        except Exception as e:
            errors[side] = e

    threads = [threading.Thread(target=one, args=a) for a in (("left", left), ("right", right))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        which = ", ".join(f"{side}: {type(e).__name__} {e}" for side, e in errors.items())
        raise ConnectionError(f"lost a server ({which})")
    return traces["left"], traces["right"]


def first_difference(a, b):
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return None


def shrink(left, right, steps, deadline):
    """Drops steps, large pieces first, while the servers still disagree."""
    a, b = both(left, right, steps)
    at = first_difference(a, b)
    if at is None:
        return None
    best = (steps, a, b)
    # A zxid that a later step shows can be what makes an earlier one differ: try, do not assume.
    a, b = both(left, right, steps[:at + 1])
    if first_difference(a, b) is not None:
        best = (steps[:at + 1], a, b)
    size = max(1, len(best[0]) // 2)
    while size >= 1:
        i = 0
        while i < len(best[0]) and time.monotonic() < deadline:
            fewer = best[0][:i] + best[0][i + size:]
            if not fewer:
                break
            a, b = both(left, right, fewer)
            if first_difference(a, b) is not None:
                best = (fewer, a, b)
            else:
                i += size
        size //= 2
    return best


def show(step):
    step = dict(step)
    kind, s = step.pop("kind"), step.pop("s", "")
    rest = " ".join(f"{k}={v!r}" for k, v in step.items())
    text = f"{s} {kind} {rest}"
    return text if len(text) < 800 else text[:800] + "…"


def report(name, best):
    steps, a, b = best
    first = first_difference(a, b)
    print(f"MISMATCH in {name}, {len(steps)} steps left after shrinking")
    for at in range(max(0, first - 12), len(steps)):
        print(f"  {'  ' if a[at] == b[at] else '> '}{at}: {show(steps[at])}")
        if a[at] == b[at]:
            continue
        for s in sorted(a[at].keys() | b[at].keys()):
            x, y = a[at].get(s, []), b[at].get(s, [])
            for i in range(max(len(x), len(y))):
                answers = [repr(z[i]) if i < len(z) else "nothing" for z in (x, y)]
                if answers[0] != answers[1]:
                    for side, text in zip(("left ", "right"), answers):
                        print(f"        {s} {side} {i}: " + (
                            text if len(text) < 1200 else text[:1200] + "…"))
    sys.stdout.flush()


def compare(args, name, steps):
    """True if both servers answer `steps` alike."""
    a, b = both(args.left, args.right, steps)
    if first_difference(a, b) is None:
        return True
    best = shrink(args.left, args.right, steps, time.monotonic() + args.shrink_s)
    if best is None:
        print(f"UNSTABLE: {name} differed once and not when repeated")
        best = (steps, a, b)
    report(name, best)
    return False


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--left", type=address, required=True, help="the reference")
    p.add_argument("--right", type=address, required=True, help="the server under test")
    p.add_argument("--suite", default="random",
                   choices=["random", "words"] + sorted(scripts.SUITES))
    p.add_argument("--first", type=int, default=1, help="the first seed")
    p.add_argument("--seeds", type=int, default=200)
    p.add_argument("--ops", type=int, default=60)
    p.add_argument("--only", default="", help="only the scripts whose name contains this")
    p.add_argument("--shrink-s", type=float, default=20.0)
    p.add_argument("--revive-s", type=float, default=0.0,
                   help="after a server died, wait for somebody to start it again")
    p.add_argument("--limit", type=int, default=10, help="stop after so many mismatches")
    p.add_argument("--settle", default="ping", choices=["ping", "sync"],
                   help="what brings a connection to rest after a step")
    args = p.parse_args()
    SETTLE_OP[0] = args.settle

    if args.suite == "words":
        sys.exit(words.compare(args.left, args.right))
    if args.suite == "random":
        plans = ((f"seed {n}", gen.Generator(n).plan(args.ops))
                 for n in range(args.first, args.first + args.seeds))
    else:
        plans = ((n, s) for n, s in scripts.SUITES[args.suite]() if args.only in n)
    done = failed = 0
    start = time.monotonic()
    for name, steps in plans:
        done += 1
        try:
            same = compare(args, name, steps)
        except OSError as e:
            print(f"DIED in {name}: {e}")
            same = False
            time.sleep(args.revive_s)
        if not same:
            failed += 1
            if failed >= args.limit:
                print(f"stopped after {failed} mismatches")
                break
    print(f"{args.suite}: {done} plans, {failed} mismatches, "
          f"{time.monotonic() - start:.1f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
