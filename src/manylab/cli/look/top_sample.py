"""What `top` shows at one moment: servers with their kernels and terminals, what each uses, and what it may use."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from manylab.cli.look import processes as looked
from manylab.cli.look import top_processes
from manylab.cli.look.top_members import Members, Server
from manylab.cli.look.top_processes import Memory, Reading
from manylab.warden.processes import Process

_KERNEL_FILE: Final = re.compile(rb"kernel-([0-9A-Za-z-]+)\.json")
_OLD: Final = 5.0  # seconds after which a process's memory is looked at again
_SETTLED: Final = 2.0  # seconds after which a process is what it will be
_CGROUPS: Final = Path("/sys/fs/cgroup")
_NO_LIMIT: Final = 1 << 60  # cgroup v1 says "none" with a number near 2^63


@dataclass
class Use:
    """own, shared: bytes, None where this account may not look. cpu: percent of one processor, None at first."""

    own: int | None = None
    shared: int | None = None
    cpu: float | None = None
    tasks: int = 0

    @property
    def memory(self) -> int | None:
        """What is really in use, nothing counted twice: what `status` shows of a server."""
        return None if self.own is None or self.shared is None else self.own + self.shared

    def add(self, other: Use) -> None:
        for name in ("own", "shared", "cpu"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs if mine is None else mine + (theirs or 0))
        self.tasks += other.tasks


@dataclass
class Part:
    """A server itself, one of its kernels or terminals, or what else it started. name: untrusted text."""

    kind: str  # "server", "kernel", "terminal" or "program"
    pid: int
    name: str
    since: float
    use: Use = field(default_factory=Use)

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "pid": self.pid, "name": self.name, "since": self.since, **asdict(self.use)}


@dataclass
class Row:
    """One server with all its parts; use: their sum. limit: bytes of memory, None when there is none.

    unread: processes whose memory was not looked at, for want of time; it is not in the sum.
    """

    user: str
    server: str
    since: float
    parts: list[Part]
    use: Use
    limit: int | None
    unread: int = 0

    @property
    def kernels(self) -> int:
        return sum(part.kind == "kernel" for part in self.parts)

    @property
    def terminals(self) -> int:
        return sum(part.kind == "terminal" for part in self.parts)

    def as_json(self) -> dict[str, Any]:
        parts = [part.as_json() for part in self.parts]
        counts = {"kernels": self.kernels, "terminals": self.terminals}
        known = {"user": self.user, "server": self.server, "pid": self.parts[0].pid, "since": self.since}
        return {**known, **counts, **asdict(self.use), "limit": self.limit, "parts": parts}


@dataclass
class Sample:
    """when: seconds since 1970. interval: seconds between the two looks that cpu comes from, None at first."""

    when: float
    interval: float | None
    rows: list[Row]
    machine: dict[str, int]

    @property
    def total(self) -> Use:
        total = Use()
        for row in self.rows:
            total.add(row.use)
        return total

    def as_json(self) -> dict[str, Any]:
        counts = {
            "people": len({row.user for row in self.rows}),
            "servers": len(self.rows),
            "kernels": sum(row.kernels for row in self.rows),
            "terminals": sum(row.terminals for row in self.rows),
        }
        return {
            "when": self.when,
            "interval": self.interval,
            "machine": self.machine,
            "total": {**counts, **asdict(self.total)},
            "servers": [row.as_json() for row in self.rows],
        }


class Sampler:
    """Looks again and again. servers: who runs; asked at each look."""

    def __init__(self, servers: Callable[[], Sequence[Server]]) -> None:
        self._servers = servers
        self._members = Members()
        self._cpu: dict[Process, float] = {}
        self._memory: dict[Process, tuple[float, Memory | None]] = {}
        self._kinds: dict[Process, tuple[str, str]] = {}
        self._looked: float | None = None

    def look(self, budget: float | None = None) -> Sample:
        """One look. budget: seconds for reading memory; what it does not suffice for keeps its figures of before."""
        servers = list(self._servers())
        now, there = time.monotonic(), top_processes.readings()
        families = self._members.find(servers, there)
        alive = {reading.process: reading for family in families.values() for reading in family}
        self._read_memory(alive, budget)
        self._kinds = {process: known for process, known in self._kinds.items() if process in alive}
        interval = None if self._looked is None else now - self._looked
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        rows = [
            self._row(server, families[server.main], interval, booted) for server in servers if server.main in families
        ]
        self._cpu, self._looked = {process: reading.cpu for process, reading in alive.items()}, now
        return Sample(time.time(), interval, rows, machine())

    def _read_memory(self, alive: Mapping[Process, Reading], budget: float | None) -> None:
        self._memory = {process: known for process, known in self._memory.items() if process in alive}
        begun = time.monotonic()
        # The oldest figures first; of those that were never looked at, the largest.
        for process in sorted(alive, key=lambda one: (self._memory.get(one, (0.0, None))[0], -alive[one].rss)):
            when = self._memory.get(process, (0.0, None))[0]
            now = time.monotonic()
            if now - when < _OLD or (budget is not None and now - begun > budget):
                break
            self._memory[process] = now, top_processes.memory(process.pid)

    def _row(self, server: Server, family: Sequence[Reading], interval: float | None, booted: float) -> Row:
        kinds = {reading.process: self._kind(reading, server.main, booted) for reading in family}
        heads = assign(family, {process: kind for process, (kind, _) in kinds.items()})
        parts: dict[Process, Part] = {}
        whole = Use()
        for reading in family:
            head = heads[reading.process]
            if head.process not in parts:
                kind, name = kinds[head.process]
                parts[head.process] = Part(kind, head.process.pid, name, booted + began(head))
            use = self._use(reading, interval)
            parts[head.process].use.add(use)
            whole.add(use)
        main = parts.pop(server.main)
        unread = sum(reading.process not in self._memory for reading in family)
        of_server = (server.user, server.server, server.since, [main, *parts.values()], whole)
        return Row(*of_server, limit(server.main.pid), unread)

    def _kind(self, reading: Reading, main: Process, booted: float) -> tuple[str, str]:
        if reading.process in self._kinds:
            return self._kinds[reading.process]
        found = kind_of(reading, main, looked.command_line(reading.process.pid))
        # What was started a moment ago may still be the copy of its parent, before exec.
        if time.time() - booted - began(reading) > _SETTLED:
            self._kinds[reading.process] = found
        return found

    def _use(self, reading: Reading, interval: float | None) -> Use:
        memory = self._memory.get(reading.process, (0.0, None))[1]
        cpu = None
        if interval is not None:
            before = self._cpu.get(reading.process)
            if before is None:  # it began since the last look; or it was not known to be the server's
                fresh = time.clock_gettime(time.CLOCK_BOOTTIME) - began(reading) < interval + 1
                before = 0.0 if fresh else reading.cpu
            cpu = max(0.0, reading.cpu - before) / interval * 100
        return Use(memory.own if memory else None, memory.shared if memory else None, cpu, reading.threads)


def kind_of(reading: Reading, main: Process, argv: bytes) -> tuple[str, str]:
    """What a process of a server is, and a name for it. Pure."""
    if reading.process == main:
        return "server", reading.name
    if found := _KERNEL_FILE.search(argv):
        return "kernel", found[1].decode()
    if reading.tty and reading.session == reading.process.pid:
        return "terminal", reading.name
    return "program", reading.name


def began(reading: Reading) -> float:
    """Seconds between boot and the start of a process. Pure."""
    return reading.process.starttime / top_processes.TICKS


def assign(family: Sequence[Reading], kinds: Mapping[Process, str]) -> dict[Process, Reading]:
    """Each process -> the part of the server that it counts with. Pure.

    That is the kernel or terminal that it is or that started it, else the server itself. What a kernel forks looks like
    a kernel and is none. A program whose parent has ended is a part of its own.
    """
    by_pid = {reading.process.pid: reading for reading in family}
    heads: dict[Process, Reading] = {}
    for reading in family:
        chain = [reading]
        while (above := by_pid.get(chain[-1].parent)) is not None and above not in chain:
            chain.append(above)
        leads = [one for one in chain if kinds[one.process] in ("kernel", "terminal")]
        server = [one for one in chain if kinds[one.process] == "server"]
        heads[reading.process] = (leads or server or chain)[-1]
    return heads


def limit(pid: int) -> int | None:
    """The memory that the cgroup of a process may use, in bytes; None when it has no limit or none can be read."""
    found = top_processes.cgroups(pid)
    memory = next((path for names, path in found.items() if "memory" in names.split(",")), None)
    candidates = [] if memory is None else [_CGROUPS / "memory" / memory.lstrip("/") / "memory.limit_in_bytes"]
    if "" in found:
        path = found[""].lstrip("/")
        candidates += [root / path / "memory.max" for root in (_CGROUPS, _CGROUPS / "unified")]
    for file in candidates:
        with contextlib.suppress(OSError, ValueError):
            value = int(file.read_text())
            return value if value < _NO_LIMIT else None
    return None


def machine() -> dict[str, int]:
    """Bytes of memory and of what is available, and the number of processors."""
    sizes = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return {
        "memory": sizes.get("MemTotal", 0),
        "available": sizes.get("MemAvailable", 0),
        "processors": len(top_processes.processors()),
    }
