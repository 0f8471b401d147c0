"""Starts one service, asks whether it is ready, and finds what it left behind when it ended."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from manylab.model.units import OOM_SCORE
from manylab.supervise import processes
from manylab.supervise.definition import Service
from manylab.supervise.logs import open_log
from manylab.supervise.processes import MARK, Identity

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROBE_TIMEOUT = 0.2  # seconds; a local connect takes microseconds


def environment_of(service: Service, mark: str) -> dict[str, str]:
    """The whole environment of a service: nothing is inherited from whoever started the supervisor.

    Raises KeyError when the account does not exist and OSError when env_file cannot be read.
    """
    entry = pwd.getpwnam(service.account) if service.account and os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    environment = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
    }
    environment.update(service.environment)
    if service.env_file is not None:
        environment.update(parse_env_file(Path(service.env_file).read_text(encoding="utf-8")))
    environment[MARK] = mark
    return environment


def parse_env_file(text: str) -> dict[str, str]:
    """KEY=VALUE lines, without empty ones and those beginning with #: systemd's EnvironmentFile= without its quotes."""
    pairs = (line.strip().split("=", 1) for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def command_of(service: Service) -> list[str]:
    """What is executed: the service's program, through the helper that confines it where that is asked for."""
    if not service.confine and service.account is None:
        return list(service.argv)
    wish = {
        "confine": service.confine,
        "account": service.account,
        "groups": service.groups,
        "writable": service.writable,
        "capabilities": service.capabilities,
        "cwd": service.cwd,
    }
    return [sys.executable, "-I", "-m", "manylab.supervise.confine", json.dumps(wish), *service.argv]


def start(service: Service, log: Path, mark: str) -> Identity | None:
    """Start a service with fork and exec at once; None when it has already ended again.

    Raises OSError or KeyError when it cannot be started. The caller reaps.
    """
    remove_stale_socket(service)
    output = open_log(log)
    try:
        process = subprocess.Popen(
            command_of(service),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment_of(service, mark),
            cwd=service.cwd if service.account is None else "/",
            umask=service.umask,
            start_new_session=True,
            close_fds=True,
        )
    finally:
        os.close(output)
    _end_last(process.pid)
    process.returncode = 0  # not Popen but the loop collects it: a second waitpid could take somebody else's status
    return processes.identify(process.pid)


def _end_last(pid: int) -> None:
    """Have it ended after others when memory is short; only root may, and in a container not even root."""
    with contextlib.suppress(OSError):
        if os.geteuid() == 0:
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")


def remove_stale_socket(service: Service) -> None:
    """Take away the socket of the one before: configurable-http-proxy goes on without its API when it finds one.

    Without asking whether somebody answers: the service does not run, and a question may find its queue full.
    """
    with contextlib.suppress(OSError):
        if service.ready_socket is not None and Path(service.ready_socket).is_socket():
            Path(service.ready_socket).unlink()


def is_ready(service: Service) -> bool:
    """Whether the service accepts connections where it said it would; at once when it said nothing."""
    if service.ready_socket is not None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PROBE_TIMEOUT)
            connection.connect(service.ready_socket)
            return True
        return False
    if service.ready_port is not None:
        for address in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError), socket.create_connection((address, service.ready_port), _PROBE_TIMEOUT):
                return True
        return False
    return True


def is_confined(pid: int) -> bool:
    """Whether a process has a mount namespace of its own."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")  # noqa: PTH115 (no path at all)
    except OSError:
        return False


def strays(
    service: Service, mark: str, ended: Identity | None, supervisors: set[int], others: set[int], own_account: bool
) -> list[Identity]:
    """What a service left behind: processes that would be a second copy of it or of its parts.

    They are known by the mark in their environment, the ended process's session, or (orphans only) by an account
    that nobody else uses. The warden's children are people's servers: of those only another warden is meant.
    supervisors: pids of guardian and inner, others: pids of the other services; own_account: no other service has it.
    """
    table = processes.everything()
    safe = supervisors | others | processes.descendants(others, table)
    uid = None
    if service.account is not None and own_account:
        with contextlib.suppress(KeyError):
            uid = pwd.getpwnam(service.account).pw_uid
    found = []
    for one in table.values():
        if one.pid in safe or one.pid == 1:
            continue
        if service.keeps_children:
            is_one = processes.mark(one.pid) == mark and processes.command_line(one.pid) == service.argv
        else:
            is_one = (
                (ended is not None and one.session == ended.pid)
                or (uid and one.ppid in supervisors and processes.owner(one.pid) == uid)
                or processes.mark(one.pid) == mark
            )
        if is_one:
            found.append(Identity(one.pid, one.starttime, processes.boot_id()))
    return found


def end_all(found: list[Identity], *, patience: float) -> list[Identity]:
    """Ask processes to end, wait so many seconds (0: do not ask), then kill; returns those that still live."""
    if patience > 0:
        for who in found:
            processes.send(who, signal.SIGTERM)
        found = wait_gone(found, patience)
    for who in found:
        processes.send(who, signal.SIGKILL)
    return wait_gone(found, 1.0)


def wait_gone(found: list[Identity], seconds: float) -> list[Identity]:
    """Those of `found` that still live after at most so many seconds."""
    until = time.monotonic() + seconds
    while left := [who for who in found if processes.is_alive(who)]:
        if time.monotonic() >= until:
            break
        time.sleep(0.02)
    return left
