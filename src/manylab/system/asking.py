"""Asks something of the machine that may never answer, as somebody else if need be.

A home may be on a file system that root may not enter (FUSE without allow_root, NFS with root_squash), or whose server
is gone; a directory of accounts may hang. So the question is asked by a child process, as the person, and a child that
does not answer in time is killed and left behind: one that waits for a file system may not even die (proc(5), state D).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from manylab.base.errors import NoAnswer
from manylab.system.accounts import Person

__all__ = ["Asked", "NoAnswer", "ask", "ask_each"]

SECONDS: Final = 5.0  # for one answer, unless said otherwise
_AT_ONCE: Final = 32  # children; a whole class with homes on a dead server is not asked one after the other
_SETTLED: Final = 0.05  # seconds to read what was answered while others were listened to
_CHUNK: Final = 1 << 16

Answer = TypeVar("Answer")


class Asked:
    """A child that answers: each value that `answers` yields, in JSON. person: whom it becomes, when this is root."""

    def __init__(self, answers: Callable[[], Iterable[Any]], person: Person | None = None) -> None:
        self.began = time.monotonic()
        self._reader, writer = os.pipe()
        self._rest = b""
        self._pid = os.fork()
        if self._pid == 0:
            _be_asked(writer, answers, person)
        os.close(writer)

    def next(self, until: float) -> Any:
        """The next answer; until: on time.monotonic's clock. Raises NoAnswer, and StopIteration after the last."""
        while b"\n" not in self._rest:
            left = max(until - time.monotonic(), _SETTLED)
            if not select.select([self._reader], [], [], left)[0]:
                raise NoAnswer(f"did not answer within {round(until - self.began) or 1} s")
            data = os.read(self._reader, _CHUNK)
            if not data:
                raise StopIteration
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        kind, value = json.loads(line)
        if kind != "answer":
            raise NoAnswer(str(value))
        return value

    def close(self) -> None:
        """Kill it, and do not wait for its end."""
        os.close(self._reader)
        with contextlib.suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)
        _forget_the_dead(self._pid)


def ask(question: Callable[[], Answer], seconds: float = SECONDS, person: Person | None = None) -> Answer:
    """The answer to one question, which is a value of JSON. Raises NoAnswer."""
    (answer,) = ask_each([person], lambda _: question(), seconds)
    if isinstance(answer, NoAnswer):
        raise answer
    return answer


def ask_each(
    people: Sequence[Person | None], question: Callable[[Any], Answer], seconds: float = SECONDS
) -> Iterator[Answer | NoAnswer]:
    """For each of them, in order, the answer to `question(person)`, asked as that person. One who gives none holds up
    nobody else.
    """
    for first in range(0, len(people), _AT_ONCE):
        some = people[first : first + _AT_ONCE]
        children = [Asked(lambda person=person: [question(person)], person) for person in some]  # type: ignore[misc]
        for child in children:
            try:
                yield child.next(child.began + seconds)
            except NoAnswer as silent:
                yield silent
            except StopIteration:
                yield NoAnswer("ended without an answer")
            finally:
                child.close()


def _be_asked(writer: int, answers: Callable[[], Iterable[Any]], person: Person | None) -> None:
    """In the child; never returns. Nobody who waits for the end of our output may wait for this process."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.dup2(writer, 3)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (not closerange: there may be a thousand million)
            with contextlib.suppress(OSError):
                os.close(int(name)) if int(name) > 3 else None
        os.chdir("/")
        try:
            if person is not None and os.geteuid() == 0:
                _become(person)
            for answer in answers():
                _say("answer", answer)
        except Exception as error:
            denied = isinstance(error, OSError) and error.strerror
            why = f"cannot be looked at: {denied}" if denied else f"failed: {type(error).__name__}: {error}"
            _say("error", why[:500])
    finally:
        os._exit(0)


def _say(kind: str, value: Any) -> None:
    data = json.dumps([kind, value]).encode() + b"\n"
    while data:
        data = data[os.write(3, data) :]


def _become(person: Person) -> None:
    """For good. The kernel keeps a process that changed its identity closed to its new account: no debugger."""
    os.setgroups(os.getgrouplist(person.name, person.gid))
    os.setresgid(person.gid, person.gid, person.gid)
    os.setresuid(person.uid, person.uid, person.uid)


def _forget_the_dead(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
