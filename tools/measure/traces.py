"""What tools/profile reads out of the text of perf, of callgrind and of the word mntr. Pure: text in, counts out."""

import collections
import re

# As perf prints a tracepoint with `-F comm,tid,cpu,event,trace`, or some of these.
SYSTEM_CALL = re.compile(r"\s*(?P<thread>.+?)\s+raw_syscalls:sys_enter: NR (?P<number>\d+)")
SWITCH = re.compile(r"(?P<s>\d+)\.(?P<us>\d{6}): +sched:sched_switch: "
                    r"prev_comm=(?P<name>.*) prev_pid=(?P<before>\d+) .* ==> next_comm=.* next_pid=(?P<after>\d+)")
FUTEX = re.compile(r"\s*(?P<thread>.+?)\s+\d+\s+syscalls:sys_enter_futex: .*\bop: 0x(?P<op>[0-9a-f]+)")
CONTENTION = re.compile(r"\s*(?P<thread>.+?)\s+\d+\s+lock:contention_begin: 0x[0-9a-f]+ \(flags=(?P<flags>[^)]*)\)")
WAKE = re.compile(r"\s*(?P<thread>.+?)\s+(?P<tid>\d+)\s+\[(?P<cpu>\d+)\]\s+sched:sched_waking: "
                  r"comm=(?P<woken>.*) pid=(?P<woken_tid>\d+) prio=-?\d+ target_cpu=(?P<target>\d+)")

# The low bits of a futex's operation (include/uapi/linux/futex.h); the others are private memory and which clock.
FUTEX_COMMANDS = ["wait", "wake", "fd", "requeue", "cmp_requeue", "wake_op", "lock_pi", "unlock_pi", "trylock_pi",
                  "wait_bitset", "wake_bitset", "wait_requeue_pi", "cmp_requeue_pi", "lock_pi2"]
FUTEX_COMMAND_BITS = 0x7f


# As perf prints a sample with `-F comm,ip,sym,dso`.
SAMPLE = re.compile(r"\s*(?P<thread>.+?)\s+(?P<address>[0-9a-f]+) (?P<name>.+) \((?P<file>[^()]*(?:\([^()]*\))?)\)$")


def samples(script):
    """Samples by thread, function, and whether that is the kernel's."""
    found = (SAMPLE.match(line) for line in script.splitlines())
    return collections.Counter(
        (each["thread"], shortened(each["name"]), each["file"].startswith("[kernel")) for each in found if each
    )


def shortened(name):
    """A Rust name without types, and of a long one the end."""
    while (bare := re.sub(r"<[^<>]*>", "", name)) != name:
        name = bare
    return "::".join(part for part in name.split("::") if part)[-60:]


def by_thread(counted, most=8, least=0.1):
    """Of each thread, the busiest first: its name, percent of all samples, percent of its own that are the
    kernel's, and the functions that it is in most, with percent of all; what is `least` or less is left out."""
    total = sum(counted.values())
    threads = collections.defaultdict(collections.Counter)
    kernel = collections.Counter()
    for (thread, name, is_kernel), count in counted.items():
        threads[thread][name] += count
        kernel[thread] += count * is_kernel
    order = sorted(threads.items(), key=lambda each: -each[1].total())
    return [
        (thread, 100 * names.total() / total, 100 * kernel[thread] / names.total(),
         [(name, 100 * count / total) for name, count in names.most_common(most) if 100 * count > least * total])
        for thread, names in order if 100 * names.total() > least * total
    ]


def waits(script, threads):
    """Folded stacks with the microseconds that threads waited in them."""
    left, sums = {}, collections.Counter()
    for event in script.split("\n\n"):
        first, *frames = event.strip().splitlines() or [""]
        found = SWITCH.search(first)
        if not found:
            continue
        now_us = int(found["s"]) * 1_000_000 + int(found["us"])
        before, after = int(found["before"]), int(found["after"])
        if after in left:
            since_us, stack = left.pop(after)
            sums[stack] += now_us - since_us
        if before in threads:
            names = [frame.split(None, 1)[-1].replace(";", ":") for frame in reversed(frames)]
            left[before] = (now_us, ";".join([found["name"], *names]))
    return "".join(f"{stack} {us}\n" for stack, us in sorted(sums.items()))


def system_calls(script):
    """Entries into the kernel by thread and the call's number."""
    found = (SYSTEM_CALL.match(line) for line in script.splitlines())
    return collections.Counter((each["thread"], int(each["number"])) for each in found if each)


def locks(script):
    """Calls of futex, and waits for a lock of the kernel's own, by thread and what it was."""
    counts = collections.Counter()
    for line in script.splitlines():
        if found := FUTEX.match(line):
            command = int(found["op"], 16) & FUTEX_COMMAND_BITS
            name = FUTEX_COMMANDS[command] if command < len(FUTEX_COMMANDS) else str(command)
            counts[found["thread"], f"futex {name}"] += 1
        elif found := CONTENTION.match(line):
            counts[found["thread"], f"kernel lock {found['flags']}"] += 1
    return counts


def wakes(script, threads):
    """How often one thread woke another, and how often of that the other one had run on another processor: by
    pairs of which at least one is of `threads`."""
    all_of, across = collections.Counter(), collections.Counter()
    for found in filter(None, map(WAKE.match, script.splitlines())):
        if not threads & {int(found["tid"]), int(found["woken_tid"])}:
            continue
        pair = found["thread"], found["woken"]
        all_of[pair] += 1
        across[pair] += int(found["cpu"]) != int(found["target"])
    return {pair: (count, across[pair]) for pair, count in all_of.items()}


def stat(text):
    """Counts of `perf stat -x ;` by event; None for what cannot be counted."""
    fields = [line.split(";") for line in text.splitlines()]
    return {each[2]: int(each[0]) if each[0].isdigit() else None for each in fields if len(each) > 2}


def words(text):
    """The lines of the word mntr, by name."""
    return dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)


def instructions(text):
    """Of `callgrind_annotate --inclusive=yes`: all, less those of the library that waits for the ring."""
    names = r"PROGRAM TOTALS|\S+:syscall \[.*/ring_wait\.so\]"
    lines = re.findall(rf"^ *([\d,]+) \( *[\d.]+%\)  (?:{names})$", text, re.MULTILINE)
    total, *waited = [int(count.replace(",", "")) for count in lines]
    return total - sum(waited)
