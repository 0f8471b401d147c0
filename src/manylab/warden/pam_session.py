"""One PAM session: opened, held while a server runs, and closed by the process that opened it.

Runs in a child of `pam_check`. Modules change the process that opens a session (umask, resource limits, groups); what
they changed is reported as data, and a server that is forked elsewhere takes it over (`warm.identity`). So a module
that hangs, crashes or leaves something open does so in this process only.

On the connection: {"pid", "step": "home"}, {"step": "session"}, then the answer of `_open`. The warden then sends the
server's pidfd, and closes its end when the start is over; the session is closed when that server has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import pamela

from manylab.warm import process, wire

_TTY: Final = "manylab"  # as cron does it: pam_group, pam_access and others want some name
# pam_systemd registers no such session: a user manager takes seconds to start, and could move processes out of the
# limits of manylab. From systemd 258 on a class of its own; before that a class logind refuses, and PAM goes on.
_CLASS: Final = {"XDG_SESSION_CLASS": "none"}
_CLOSE: Final = 20.0  # seconds for modules to close the session
_START: Final = 24 * 3600.0  # seconds; longer than a start may wait for its turn
_USUAL_FILES: Final = 1024  # INR_OPEN_CUR of linux/fs.h
_SENTENCE: Final = 300  # characters of what modules said
# PAM_SYSTEM_ERR and PAM_CONV_ERR of _pam_types.h.
_SYSTEM_ERROR: Final = 4
_CONVERSATION_ERROR: Final = 19


class _Said:
    """The conversation with modules: keeps their messages, and answers no question."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.function = pamela.CONV_FUNC(self._hear)

    def _hear(self, number: int, messages: Any, responses: Any, _: Any) -> int:
        responses[0] = ctypes.cast(
            pamela.CALLOC(number, ctypes.sizeof(pamela.PamResponse)), ctypes.POINTER(pamela.PamResponse)
        )
        for message in (messages[place].contents for place in range(number)):
            if message.msg_style in (pamela.PAM_PROMPT_ECHO_OFF, pamela.PAM_PROMPT_ECHO_ON):
                return _CONVERSATION_ERROR
            if message.msg_style == pamela.PAM_ERROR_MSG:
                self.texts.append((ctypes.cast(message.msg, ctypes.c_char_p).value or b"").decode(errors="replace"))
        return 0


def hold(question: dict[str, Any], conversation: wire.Conversation) -> NoReturn:
    """Open the session, report it, hold it and close it. question: user, service, home, gid, groups, files, core."""
    os.setsid()
    conversation.send({"pid": os.getpid(), "step": "home"})
    with contextlib.suppress(OSError):
        os.stat(question["home"])  # noqa: PTH116  waits where the home hangs, before any module does
    conversation.send({"step": "session"})
    said = _Said()
    handle, answer = _open(question, said)
    signal.alarm(0)
    conversation.send(answer)
    if handle is not None:
        _wait_for_server(conversation)
        _close(handle)
    os._exit(0)


def _open(question: dict[str, Any], said: _Said) -> tuple[Any, dict[str, Any]]:
    """The handle (None: there is no session) and what to tell the warden.

    errno: PAM's. environment: pam_getenvlist(3). umask, nice, no_new_privileges. limits: RLIMIT_* that modules changed.
    groups: those they added.
    """
    os.umask(0o022)
    os.setgid(question["gid"])
    os.setgroups(question["groups"])
    process.limit("RLIMIT_NOFILE", question["files"], resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    process.limit("RLIMIT_CORE", question["core"], resource.getrlimit(resource.RLIMIT_CORE)[1])
    before, groups, root = process.limits(), set(os.getgroups()), _root()
    try:
        handle = pamela.pam_start(question["service"], question["user"], conv_func=said.function, encoding="utf-8")
    except pamela.PAMError as error:
        return None, {"errno": error.errno, "said": ""}
    handle.set_item(pamela.PAM_TTY, _TTY)
    for name, value in _CLASS.items():
        handle.put_env(name, value)
    # pam_group adds groups here. Without a password some modules have nothing to set: systemd and cron go on, too.
    pamela.PAM_SETCRED(handle, pamela.PAM_ESTABLISH_CRED)
    errno = pamela.PAM_OPEN_SESSION(handle, 0)
    if errno == 0 and _root() != root:
        errno = _SYSTEM_ERROR
        said.texts.append("A module changed the root folder (chroot), which a server cannot take over.")
        pamela.PAM_CLOSE_SESSION(handle, 0)
    if errno:
        pamela.PAM_SETCRED(handle, pamela.PAM_DELETE_CRED)
        pamela.PAM_END(handle, errno)
        return None, {"errno": errno, "said": " ".join(said.texts)[:_SENTENCE]}
    return handle, {
        "errno": 0,
        "environment": {name: value for name, value in _environment(handle).items() if name not in _CLASS},
        "umask": process.umask(),
        "limits": _changed(before, process.limits()),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "no_new_privileges": process.status_of("self").get("NoNewPrivs") == "1",
        "groups": sorted(set(os.getgroups()) - groups),
    }


def _changed(before: Mapping[str, list[int]], now: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """The limits that modules set. Debian's pam_limits also puts back what is usual where nothing is configured; 1024
    open files are too few for a server, which had more before, so that soft limit counts as not set.
    """
    found = {name: pair for name, pair in now.items() if pair != before[name]}
    if (files := found.get("RLIMIT_NOFILE")) is not None and files[0] == _USUAL_FILES:
        found["RLIMIT_NOFILE"] = [min(before["RLIMIT_NOFILE"][0], files[1]), files[1]]
    return found


def _root() -> tuple[int, int]:
    found = os.stat("/")  # noqa: PTH116
    return found.st_dev, found.st_ino


def _environment(handle: Any) -> dict[str, str]:
    # Not by pamela's method, which stops at what is not UTF-8.
    found, listed = {}, pamela.PAM_GETENVLIST(handle)
    for item in listed or ():
        if item is None:
            break
        name, _, value = os.fsdecode(item).partition("=")
        found[name] = value
    return found


def _wait_for_server(conversation: wire.Conversation) -> None:
    """Until the last server that the warden named has ended, or there is none. The warden may end before that."""
    # When the machine is shut down the server hears that, too, and the session is closed after it.
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    server = None
    with contextlib.suppress(wire.Broken, OSError):
        while True:
            _, given = conversation.receive(seconds=_START, descriptors=1)
            if server is not None:
                os.close(server)
            server = given[0] if given else None
    conversation.connection.close()
    if server is not None:
        poll = select.poll()
        poll.register(server, select.POLLIN)
        poll.poll()
        os.close(server)
    for number, handler in before.items():
        signal.signal(number, handler)


def _close(handle: Any) -> None:
    """Close the session in a child, as systemd's (sd-pam) does; one that hangs is ended, with its programs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        with contextlib.suppress(Exception):
            status = pamela.PAM_CLOSE_SESSION(handle, 0)
            pamela.PAM_SETCRED(handle, pamela.PAM_DELETE_CRED)
            pamela.PAM_END(handle, status)
        os._exit(0)
    if signal.sigtimedwait({signal.SIGCHLD}, _CLOSE) is None:
        process.end_all(process.descendants(os.getpid()))
