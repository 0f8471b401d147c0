"""`manylab top`: what it reads from /proc, how it adds up, and what it shows."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import time

from rich.console import Console

from manylab.cli.look import top_members, top_processes, top_sample, top_screen
from manylab.cli.look.top_members import Marks, Members, Server
from manylab.cli.look.top_processes import Memory, Reading
from manylab.cli.look.top_sample import Part, Row, Sample, Sampler, Use
from manylab.cli.look.top_screen import View
from manylab.warden.processes import MARKER, Process

ROLLUP = """\
5600 - ffff ---p 00000000 00:00 0    [rollup]
Rss:                9000 kB
Pss:                5000 kB
Pss_Dirty:          4000 kB
Shared_Clean:       4000 kB
Private_Clean:      1000 kB
Private_Dirty:      3000 kB
Private_Hugetlb:       8 kB
Locked:                0 kB
"""


def stat(pid=7, name="python", state="S", parent=1, tty=0, session=7, start=500, threads=3):
    """A line of /proc/PID/stat."""
    times = [250, 50, 0, 0]
    fields = [state, parent, session, session, tty, -1, 0, 0, 0, 0, 0, *times, 20, 0, threads, 0, start, 1 << 20, 10]
    return f"{pid} ({name}) {' '.join(map(str, fields))} 0 0\n".encode()


def reading(pid, parent=1, tty=0, session=0, name="python", cpu=0.0):
    return Reading(Process(pid, pid * 100), name, parent, session, tty, cpu, 2, 1 << 20)


def row(user, own=0, cpu=0.0, tasks=1, parts=(), server=""):
    main = Part("server", 1, "python", 0.0)
    return Row(user, server, 0.0, [main, *parts], Use(own, 0, cpu, tasks), None)


def sample(*rows):
    return Sample(100.0, 1.0, list(rows), {"memory": 24 << 30, "available": 20 << 30, "processors": 2})


# what is read


def test_a_name_with_brackets_and_line_breaks_cannot_forge_the_fields():
    found = top_processes.parse_stat(stat(name="x) R 1 1 1\n8 (y"))
    assert (found.process, found.parent, found.threads) == (Process(7, 500), 1, 3)
    assert found.name == "x) R 1 1 1\n8 (y"
    assert found.cpu == 300 / top_processes.TICKS


def test_a_zombie_is_not_there():
    assert top_processes.parse_stat(stat(state="Z", threads=1)) is None


def test_a_process_whose_first_thread_alone_has_ended_is_there():
    assert top_processes.parse_stat(stat(state="Z", threads=2)).threads == 2


def test_memory_is_told_apart_into_own_and_a_share_of_what_is_shared():
    assert top_processes.parse_rollup(ROLLUP) == Memory(own=4008 * 1024, shared=1000 * 1024)


def test_own_memory_is_what_a_process_has_written_to_since_it_was_forked():
    """Two that share what they inherited: that counts half for each, and nothing twice."""
    before = bytearray(os.urandom(1 << 20) * 32)
    first, second = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        mine = bytearray(os.urandom(1 << 20) * 8)
        os.write(first[1], b".")
        os.read(second[0], 1)
        os._exit(len(mine) * 0)
    try:
        os.read(first[0], 1)
        found = top_processes.memory(child)
    finally:
        os.write(second[1], b".")
        os.waitpid(child, 0)
        for end in (*first, *second):
            os.close(end)
    assert len(before) == 32 << 20
    assert 8 << 20 <= found.own < 24 << 20
    assert found.shared > 14 << 20


# what belongs together


def test_a_cgroup_below_a_servers_belongs_to_it_and_one_that_only_begins_like_it_does_not():
    server = Marks("", "", {"memory": "/manylab/alice"})
    assert server.fit(Marks("", "", {"memory": "/manylab/alice/kernel-1"}))
    assert not server.fit(Marks("", "", {"memory": "/manylab/alice2"}))
    assert not server.fit(Marks("", "", {"pids": "/manylab/alice"}))


def test_marks_that_are_not_known_fit_nobody():
    assert not Marks("", "", {}).fit(Marks("", "", {}))
    assert Marks("mnt:[5]", "", {}).fit(Marks("mnt:[5]", "", {}))
    assert Marks("", "abc", {}).fit(Marks("", "abc", {}))


@contextlib.contextmanager
def family(marker):
    """A server that has started one process which left it by a double fork, and one that did not."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "command = 'setsid sleep 60 >/dev/null 2>&1 & echo $!'\n"
        "lost = subprocess.run(['sh', '-c', command], capture_output=True, text=True)\n"
        "print(child.pid, lost.stdout.strip(), flush=True)\n"
        "sys.stdin.read()\n"
        "child.kill()\n"
    )
    environment = {**os.environ, MARKER: marker}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as main:
        child, lost = map(int, main.stdout.readline().split())
        try:
            yield main.pid, child, lost
        finally:
            os.kill(lost, 9)
            main.stdin.close()


def server(user, pid):
    return Server(user, "", os.getuid(), top_processes.read(pid).process, time.time())


def test_processes_are_found_by_descent_and_by_their_mark():
    members = Members()
    with family("one") as (main, child, lost), family("two") as (other, *_):
        servers = [server("alice", main), server("bob", other)]
        found = members.find(servers, top_processes.readings())
        pids = [one.process.pid for one in found[servers[0].main]]
        assert pids[0] == main
        assert set(pids) == {main, child, lost}
        assert len(found[servers[1].main]) == 3
        # Bob's server has ended as far as anybody says; alice's still has the same processes.
        again = members.find(servers[:1], top_processes.readings())
        assert {one.process.pid for one in again[servers[0].main]} == {main, child, lost}
        assert len(again) == 1


def test_a_pid_that_something_else_has_by_now_is_no_server():
    pid = os.getpid()
    stranger = Server("alice", "", os.getuid(), Process(pid, 1), 0.0)
    assert top_members.Members().find([stranger], top_processes.readings()) == {}


def test_what_a_kernel_or_terminal_started_counts_with_it():
    main, kernel, worker = reading(10), reading(11, parent=10), reading(12, parent=11)
    shell, job, lost = reading(20, parent=10, tty=5, session=20), reading(21, parent=20), reading(30, parent=1)
    helper = reading(13, parent=10)
    kinds = {
        one.process: kind
        for one, kind in [
            (main, "server"), (kernel, "kernel"), (worker, "kernel"), (shell, "terminal"), (job, "program"),
            (lost, "program"), (helper, "program"),
        ]
    }  # fmt: skip
    heads = top_sample.assign([main, kernel, worker, shell, job, lost, helper], kinds)
    assert {process.pid: head.process.pid for process, head in heads.items()} == {
        10: 10, 11: 11, 12: 11, 20: 20, 21: 20, 30: 30, 13: 10,
    }  # fmt: skip


def test_kernels_and_terminals_are_told_by_their_arguments_and_their_terminal():
    main = Process(1, 1)
    argv = b"python\0-m\0ipykernel_launcher\0-f\0/run/x/jupyter/kernel-0f3a-77.json\0"
    assert top_sample.kind_of(reading(5), main, argv) == ("kernel", "0f3a-77")
    assert top_sample.kind_of(reading(5, tty=34816, session=5, name="bash"), main, b"bash\0") == ("terminal", "bash")
    assert top_sample.kind_of(reading(5, tty=34816, session=4, name="vim"), main, b"vim\0") == ("program", "vim")
    assert top_sample.kind_of(Reading(main, "python", 0, 0, 0, 0.0, 1, 0), main, argv)[0] == "server"


def test_a_busy_process_shows_as_one_processor_and_an_idle_one_as_none():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        alice = server("alice", busy.pid)
        sampler = Sampler(lambda: [alice])
        try:
            assert sampler.look().rows[0].use.cpu is None
            # Until the kernel has booked some time on it; how much a busy machine gives it is not ours to say.
            end = time.monotonic() + 30
            while not (cpu := sampler.look().rows[0].use.cpu):
                assert time.monotonic() < end
                time.sleep(0.1)
        finally:
            busy.kill()
    assert cpu > 0
    assert sampler.look().rows == []


def test_without_a_budget_all_memory_is_read_and_with_none_left_nothing_is():
    with family("one") as (main, *_):
        alice = server("alice", main)
        assert all(part.use.own for part in Sampler(lambda: [alice]).look().rows[0].parts)
        assert Sampler(lambda: [alice]).look(budget=-1.0).rows[0].use.own is None


# what is shown


def test_sizes_are_short():
    sizes = (None, 0, 800 << 10, 34 << 20, 999 << 20, 1000 << 20, 24 << 30)
    assert [top_screen.size(amount) for amount in sizes] == ["-", "0K", "800K", "34M", "999M", "1.0G", "24.0G"]


def test_rows_can_be_sorted_as_in_top():
    rows = [row("ann", own=1, cpu=5, tasks=2), row("bob", own=3, cpu=1, tasks=9), row("cy", own=2, cpu=9, tasks=1)]
    orders = {key: [one.user for one in top_screen.ordered(rows, key)] for key in top_screen.SORTS.values()}
    assert orders == {
        "m": ["bob", "cy", "ann"], "p": ["cy", "ann", "bob"], "t": ["bob", "ann", "cy"], "u": ["ann", "bob", "cy"],
    }  # fmt: skip


def test_what_people_call_their_processes_cannot_reach_the_terminal():
    evil = Part("program", 5, "\x1b]0;owned\x07[red]\x1b[2J\n", 0.0, Use(1, 1, 1.0, 1))
    text = top_screen.as_text(sample(row("eve", parts=[evil])), View())
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count("\n") == 5  # two lines above, one empty, the head of the table, the server, its part
    out = io.StringIO()
    console = Console(file=out, width=100, height=30, force_terminal=True, color_system=None)
    console.print(top_screen.screen(sample(row("eve", parts=[evil])), View(), 30))
    assert "[red]" in out.getvalue()
    assert "owned\x07" not in out.getvalue()


def test_the_totals_are_the_sum_of_the_rows():
    said = sample(row("ann", own=5 << 20, cpu=10.0), row("ann", own=3 << 20, cpu=1.0, server="two")).as_json()
    assert (said["total"]["people"], said["total"]["servers"]) == (1, 2)
    assert (said["total"]["own"], said["total"]["cpu"], said["total"]["tasks"]) == (8 << 20, 11.0, 2)
    assert [one["server"] for one in said["servers"]] == ["", "two"]


def test_keys_sort_hide_scroll_and_end():
    assert top_screen.pressed(View(), "P", 30) == View("p")
    assert top_screen.pressed(View(first=4), "m", 30) == View("m")
    assert top_screen.pressed(View(), "k", 30) == View(parts=False)
    assert top_screen.pressed(View(), "\x1b[B", 30) == View(first=1)
    assert top_screen.pressed(View(), "\x1b[A", 30) == View(first=0)
    assert top_screen.pressed(View(first=3), "x", 30) == View(first=3)
    assert [top_screen.pressed(View(), key, 30) for key in ("q", "Q", "\x03")] == [None] * 3


def test_four_hundred_rows_fit_a_small_terminal():
    rows = [row(f"u{number}") for number in range(400)]
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)
    console.print(top_screen.screen(sample(*rows), View(sort="u", first=10), 24))
    shown = out.getvalue().splitlines()
    assert len(shown) <= 24
    assert "lines 11 to 28 of 400" in shown[-1]


LIVE = """
import os, sys, time
from manylab.cli.look import top_processes, top_screen
from manylab.cli.look.top_members import Server
from manylab.cli.look.top_sample import Sampler
me = Server("alice", "", os.getuid(), top_processes.read(os.getpid()).process, time.time())
top_screen.live(Sampler(lambda: [me]).look, top_screen.View(), 0.2)
print("put back")
"""


def live(*keys):
    """What the live view wrote to a terminal whose person presses these keys, and its exit status."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ["TERM"] = "xterm"
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.execv(sys.executable, [sys.executable, "-c", LIVE])
    shown = b""
    pending = list(keys)
    with contextlib.suppress(OSError):  # the other end of the terminal is closed
        while data := os.read(terminal, 4096):
            shown += data
            # One key for each time that the whole screen was drawn.
            if pending and shown.count(b"Q end") > len(keys) - len(pending):
                os.write(terminal, pending.pop(0))
    os.close(terminal)
    return shown.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_live_view_follows_keys_and_puts_the_terminal_back():
    shown, status = live(b"p", b"k", b"q")
    assert status == 0
    assert "CPU%*" in shown
    assert "\x1b[?1049l" in shown  # out of the alternate screen
    assert shown.rstrip().endswith("put back")


def test_ctrl_c_ends_the_live_view_quietly():
    shown, status = live(b"\x03")
    assert status == 0
    assert "Traceback" not in shown
