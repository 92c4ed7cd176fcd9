"""Tests of what tools/profile reads, on lines as the tools print them.

    python3 -m unittest discover -s tools/measure
"""

import sys
import unittest

sys.dont_write_bytecode = True

import traces

# perf 6.1 on Linux 6.18.
SWITCHES = """\
perf 30160  1316.164100: sched:sched_switch: prev_comm=perf prev_pid=30160 prev_prio=120 prev_state=D ==> next_comm=zkore-shard-0 next_pid=12780 next_prio=120
	ffffffff82265ec8 __schedule

zkore-shard-0 12780  1316.165271: sched:sched_switch: prev_comm=zkore-shard-0 prev_pid=12780 prev_prio=120 prev_state=S ==> next_comm=zkore-sequencer next_pid=12782 next_prio=120
	ffffffff82265ec8 __schedule
	ffffffff81b88d55 io_cqring_wait
	          101829 zkore::rt<A;B>::enter

zkore-sequencer 12782  1317.000001: sched:sched_switch: prev_comm=zkore-sequencer prev_pid=12782 prev_prio=120 prev_state=S ==> next_comm=zkore-shard-0 next_pid=12780 next_prio=120
	ffffffff82265ec8 __schedule

zkore-shard-0 12780  1317.000101: sched:sched_switch: prev_comm=zkore-shard-0 prev_pid=12780 prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
	ffffffff82265ec8 __schedule
"""

SYSTEM_CALLS = """\
   zkore-shard-0  raw_syscalls:sys_exit: NR 426 = -62
   zkore-shard-0 raw_syscalls:sys_enter: NR 426 (c, 0, 1, 9, 7f0a5f6415d0, 18)
 zkore-sequencer raw_syscalls:sys_enter: NR 228 (3, 7f0a5f4420d0, 0, 7f0a5ff8d0e8, 1, 7f0a5f443478)
   zkore-shard-0 raw_syscalls:sys_enter: NR 426 (c, 1, 2, 9, 7f0a5f6415d0, 18)
"""

LOCKS = """\
           cargo  5712 syscalls:sys_enter_futex: uaddr: 0x55d6d6d42bc0, op: 0x00000081, val: 0x00000001, utime: 0x00000007, uaddr2: 0x55d6d62c1cb0, val3: 0xb839aa9020
  a thread of it  5714 syscalls:sys_enter_futex: uaddr: 0x7f5c84560a4c, op: 0x00000189, val: 0x7fffffff, utime: 0x00000000, uaddr2: 0x00000003, val3: 0x00000000
   zkore-shard-0 29991    lock:contention_begin: 0xffff888627d2bcc0 (flags=SPIN)
"""

WAKES = """\
 zkore-sequencer 29993 [000] sched:sched_waking: comm=zkore-shard-0 pid=29991 prio=120 target_cpu=000
   zkore-shard-0 29991 [000] sched:sched_waking: comm=bench-0 pid=30049 prio=130 target_cpu=001
         bench-0 30049 [001] sched:sched_waking: comm=zkore-shard-0 pid=29991 prio=120 target_cpu=000
   zkore-shard-0 29991 [001] sched:sched_waking: comm=bench-0 pid=30049 prio=130 target_cpu=001
 kworker/1:2+dio  6806 [001] sched:sched_waking: comm=zkore-sequencer pid=30085 prio=120 target_cpu=001
"""

STAT = """\
# started on Fri Nov 27 19:27:49 2026

<not supported>;;cycles;0;100.00;;
8;;context-switches;445297;100.00;;
17;;raw_syscalls:sys_enter;445297;100.00;;
"""

# callgrind_annotate 3.19.
CALLGRIND = """\
--------------------------------------------------------------------------------
Ir                  
--------------------------------------------------------------------------------
20,853,067 (100.0%)  PROGRAM TOTALS

20,853,067 (100.0%)  ./nptl/./nptl/pthread_create.c:start_thread [/usr/lib/x86_64-linux-gnu/libc.so.6]
 3,250,435 (15.59%)  ???:syscall [/target/perf/profile-71xck6x2/ring_wait.so]
 3,016,788 (14.47%)  ???:ring_wait [/target/perf/profile-71xck6x2/ring_wait.so]
    97,104 ( 0.47%)  ./misc/../sysdeps/unix/sysv/linux/x86_64/syscall.S:syscall [/usr/lib/x86_64-linux-gnu/libc.so.6]
"""


# The paths of libraries are made up.
SAMPLES = """\
zkore-shard-0  ffffffff82252b63 tcp_sendmsg ([kernel.kallsyms])
zkore-shard-0      55d0b5f0c2a1 <alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop (/usr/bin/zkore)
zkore-shard-0  ffffffff82252b99 tcp_sendmsg ([kernel.kallsyms])
zkore-sequencer      55d0b5f0c2a1 zkore::tree::apply::<impl zkore::tree::Tree>::create (/usr/bin/zkore (deleted))
"""


class Traces(unittest.TestCase):
    def test_samples_are_counted_by_thread_and_function(self):
        counted = traces.samples(SAMPLES)
        self.assertEqual(counted, {
            ("zkore-shard-0", "tcp_sendmsg", True): 2, ("zkore-shard-0", "drop", False): 1,
            ("zkore-sequencer", "zkore::tree::apply::create", False): 1,
        })
        shard, sequencer = traces.by_thread(counted, most=1)
        self.assertEqual((*shard[:2], round(shard[2]), shard[3]), ("zkore-shard-0", 75, 67, [("tcp_sendmsg", 50)]))
        self.assertEqual(sequencer, ("zkore-sequencer", 25, 0, [("zkore::tree::apply::create", 25)]))

    def test_a_wait_lasts_from_the_switch_away_to_the_next_switch_to_it(self):
        folded = traces.waits(SWITCHES, {12780})
        self.assertEqual(folded, "zkore-shard-0;zkore::rt<A:B>::enter;io_cqring_wait;__schedule 834730\n")

    def test_only_threads_that_are_asked_for_wait(self):
        self.assertEqual(traces.waits(SWITCHES, set()), "")

    def test_system_calls_are_entries_by_thread(self):
        counts = traces.system_calls(SYSTEM_CALLS)
        self.assertEqual(counts, {("zkore-shard-0", 426): 2, ("zkore-sequencer", 228): 1})

    def test_locks_are_futexes_and_the_kernels(self):
        expected = {("cargo", "futex wake"): 1, ("a thread of it", "futex wait_bitset"): 1,
                    ("zkore-shard-0", "kernel lock SPIN"): 1}
        self.assertEqual(traces.locks(LOCKS), expected)

    def test_a_wake_is_across_where_the_woken_ran_elsewhere(self):
        expected = {("zkore-sequencer", "zkore-shard-0"): (1, 0), ("zkore-shard-0", "bench-0"): (2, 1),
                    ("bench-0", "zkore-shard-0"): (1, 1)}
        self.assertEqual(traces.wakes(WAKES, {29991, 29993}), expected)

    def test_what_cannot_be_counted_is_none(self):
        expected = {"cycles": None, "context-switches": 8, "raw_syscalls:sys_enter": 17}
        self.assertEqual(traces.stat(STAT), expected)

    def test_words_have_a_tab(self):
        self.assertEqual(traces.words("zk_version\t3.9\nno line of mntr\nzk_packets_received\t7\n"),
                         {"zk_version": "3.9", "zk_packets_received": "7"})

    def test_waiting_for_the_ring_is_no_work_of_the_servers(self):
        self.assertEqual(traces.instructions(CALLGRIND), 20_853_067 - 3_250_435)


if __name__ == "__main__":
    unittest.main()
