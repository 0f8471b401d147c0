"""Asking PAM: each question in a process of its own, forked from one that has imported what it needs.

A class that signs in at once would otherwise wait for sixty interpreters. The process that forks reads nothing: the
question, with a password in it, is read by the child alone.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
from pathlib import Path
from typing import Any, Final

from manylab.warden.talk import Silent, Talk

log = logging.getLogger("manylab.warden")

TIMEOUT: Final = 30.0  # seconds for PAM's answer; a directory that is down takes this long to say so


class Pam:
    """All methods run in the event loop."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._python: Path | None = None

    async def ask(self, question: dict[str, Any], python: Path) -> dict[str, Any]:
        """What `pam_check` says; {} when it says nothing in time. python: the interpreter to run it with."""
        for _ in range(2):  # once more with a new process, when that which forks had died
            talk = self.connect(python)
            if talk is None:
                continue
            try:
                await talk.send(question)
                return await talk.object(TIMEOUT)
            except Silent as silent:
                log.warning("pam_check gave no answer (%s)", silent)
                if self._process is not None and self._process.poll() is None:
                    return {}
            finally:
                talk.close()
        return {}

    def connect(self, python: Path) -> Talk | None:
        """A line to a new child, which reads one question; None when the process that forks has just died."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._there(python), [b"?"], [theirs.fileno()])
            except OSError as error:
                log.info("pam_check is started anew: %s", error)
                ours.close()
                self.close()
                return None
        return Talk(ours)

    def _there(self, python: Path) -> socket.socket:
        """The line to the process that forks, which is started when there is none. Raises OSError."""
        if self._channel is not None and self._process is not None and self._process.poll() is None:
            if self._python == python:
                return self._channel
            self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                (str(python), "-I", "-m", "manylab.warden.pam_check"),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel, self._python = ours, python
        return ours

    def close(self) -> None:
        """The process that forks ends when it hears no more; questions under way are answered."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0)
