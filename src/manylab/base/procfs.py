"""Looks at other people's processes that come to an end, whatever those processes do.

Most files of /proc/PID (stat, environ, maps, smaps_rollup, ns, exe, map_files...) wait for a process that is in the
middle of execve(2). Whoever has a file system of their own (FUSE) can make that last for ever: a descriptor that is
closed on exec, and a daemon that does not answer. `status`, `cgroup`, `cmdline`, `sessionid` and `statm` never wait.
Such a look is therefore made in a thread that can be left behind.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

_T = TypeVar("_T")

LIMIT: Final = 0.5  # seconds without any progress; a look takes microseconds, and milliseconds on a busy machine
_TOGETHER: Final = 200  # threads that are left behind; with more than that nothing that may wait is looked at


def each(
    pids: Iterable[int], look: Callable[[int], Iterable[_T | None]], seconds: float = LIMIT
) -> dict[int, list[_T]]:
    """What `look` finds of each process, one after another. Processes that cannot be looked at are not in it.

    look: may wait for ever, and must not hold anything. It can take long, as long as it yields something now and then
    (None: nothing was found yet).
    While one process of an account cannot be looked at, its others are not tried: all its processes together cost
    `seconds`, and one thread.
    """
    found: dict[int, list[_T]] = {}
    todo = list(pids)
    while todo := [pid for pid in todo if not _is_left(pid)] if _left else todo:
        batch = _Batch(todo, look)
        worker = _worker()
        worker.batches.put(batch)
        hung = batch.wait(seconds)
        # Taken once: a thread that is left and comes back adds nothing to it any more.
        done = dict(batch.found)
        if hung is None:
            _idle.append(worker)
        if batch.error is not None:
            raise batch.error
        found |= done
        if hung is None:
            return found
        with _lock:
            _left[_key(hung)] = worker
        todo = todo[todo.index(hung) + 1 :]
    return found


def first(
    pids: Iterable[int],
    look: Callable[[int], Iterable[_T | None]],
    instead: Callable[[int], _T | None] = lambda _: None,
    seconds: float = LIMIT,
) -> dict[int, _T]:
    """The first that `look` finds of each process; of one that cannot be looked at, what `instead` says, if anything.

    instead: must not wait.
    """
    wanted = list(pids)
    looked = each(wanted, look, seconds)
    found = {}
    for pid in wanted:
        one = next(iter(looked[pid]), None) if pid in looked else instead(pid)
        if one is not None:
            found[pid] = one
    return found


def hangs(pid: int) -> bool:
    """Whether what may wait was not looked at, the last time, for this process or another one of its account."""
    return bool(_left) and _is_left(pid)


def read(pid: int, name: str) -> bytes | None:
    """One file of /proc/PID; None when it cannot be read, whyever."""
    return first([pid], lambda pid: _content(pid, name)).get(pid)


def _content(pid: int, name: str) -> Iterable[bytes]:
    try:
        return (Path(f"/proc/{pid}/{name}").read_bytes(),)
    except OSError:
        return ()


def real_uid(pid: int) -> int | None:
    """Who started it; None when it is gone. Never waits."""
    return next(iter(uids(pid)), None)


def uids(pid: int) -> list[int]:
    """Real, effective, saved and file-system uid; none when it is gone. Never waits."""
    return [int(number) for number in status(pid).get("Uid", "").split()]


def status(pid: int | Literal["self"]) -> dict[str, str]:
    """/proc/PID/status, empty when it is gone. Never waits."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return {}
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in text.splitlines())}


def _key(pid: int) -> int:
    """Accounts are kept apart, so that nobody hides another one's processes; root's are looked at one by one."""
    return real_uid(pid) or -pid


def _is_left(pid: int) -> bool:
    with _lock:
        for key in [key for key, thread in _left.items() if not thread.is_alive()]:
            del _left[key]
        return len(_left) >= _TOGETHER or (bool(_left) and _key(pid) in _left)


class Glance(NamedTuple):
    """What is known of any process. state: a letter, as in proc(5). session: 0 where the kernel does not say."""

    name: str
    state: str
    parent: int
    session: int
    threads: int


def glance(pid: int) -> Glance | None:
    """None when it is gone. Never waits."""
    said = status(pid)
    try:
        session = int(said.get("NSsid", "0").split()[0])
        return Glance(said["Name"], said["State"][0], int(said["PPid"]), session, int(said["Threads"]))
    except (KeyError, ValueError, IndexError):
        return None


class _Batch(Generic[_T]):
    """Looks of one thread."""

    def __init__(self, pids: list[int], look: Callable[[int], Iterable[_T | None]]) -> None:
        self.given_up = False
        self.found: dict[int, list[_T]] = {}
        self.error: BaseException | None = None
        self._pids = pids
        self._look = look
        self._now = 0  # index of the one that is being looked at
        self._steps = 0
        self._done = threading.Event()
        self._ending = threading.Lock()

    def run(self) -> bool:
        """In the thread. Whether it was left behind."""
        self._run()
        with self._ending:
            self._done.set()
            return self.given_up

    def _run(self) -> None:
        try:
            for index, pid in enumerate(self._pids):
                self._now = index
                self._steps += 1
                found: list[_T] = []
                for item in self._look(pid):
                    if item is not None:
                        found.append(item)
                    self._steps += 1
                    if self.given_up:
                        return
                if self.given_up:
                    return
                self.found[pid] = found
        except BaseException as error:
            self.error = error

    def wait(self, seconds: float) -> int | None:
        """None once all were looked at; else the process that cannot be."""
        before = self._steps
        while not self._done.wait(seconds):
            with self._ending:
                if self._steps == before and not self._done.is_set():
                    self.given_up = True
                    return self._pids[self._now]
            before = self._steps
        return None


class _Worker(threading.Thread):
    """Makes looks, until it has to be left behind."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="look")
        self.batches: queue.SimpleQueue[_Batch[Any]] = queue.SimpleQueue()

    def run(self) -> None:
        while not (batch := self.batches.get()).run():
            del batch  # with all that was found


def _worker() -> _Worker:
    """One that has nothing to do. A new thread for each look would take longer than the look."""
    while _idle:
        with contextlib.suppress(IndexError):  # somebody else was faster
            if (worker := _idle.pop()).is_alive():  # else this is the child of a fork, which has no other threads
                return worker
    worker = _Worker()
    worker.start()
    return worker


_left: dict[int, _Worker] = {}  # by `_key`
_idle: Final[list[_Worker]] = []
_lock: Final = threading.Lock()
