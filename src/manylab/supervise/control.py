"""What the command line and the init script ask for: start, stop, restart, reload, status. Called from any process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from manylab.base.errors import CommandFailed, ConfigError, Locked
from manylab.supervise import children, execution, processes
from manylab.supervise.definition import Definition, load
from manylab.supervise.inner import EXIT_CONFIG, EXIT_LOCKED
from manylab.supervise.logs import last_lines, open_log
from manylab.supervise.processes import Identity
from manylab.supervise.record import (
    PID_FILE,
    RESTART_FILE,
    Record,
    living_services,
    read_state,
    remove_files,
    replace_text,
    supervisors,
)

RUNNING, DEAD_WITH_PID_FILE, STOPPED, UNKNOWN = 0, 1, 3, 4  # LSB 5.0, "Init Script Actions"
_LOOK_EVERY = 0.05


@dataclass(frozen=True)
class Status:
    """What `status` found: the LSB code, one line for people, and the record when there is one."""

    code: int
    text: str
    record: Record | None


def status(state: Path) -> Status:
    """Whether the services are looked after, from the state folder of services.json."""
    try:
        record = read_state(state)
        left_over = record is not None or (state / PID_FILE).exists()
    except OSError as error:
        return Status(UNKNOWN, f"manylab: not known ({error})", None)
    alive = supervisors(record)
    if record is not None and alive:
        if record.ready:
            return Status(RUNNING, f"manylab is running (pid {alive[0].pid})", record)
        waiting = ", ".join(
            f"{service.name} {service.state}" for service in record.services if service.state != "running"
        )
        return Status(RUNNING, f"manylab is running (pid {alive[0].pid}), not ready: {waiting}", record)
    if left_over:
        orphans = len(living_services(record))
        more = f"; {orphans} of its services live, nobody looks after them" if orphans else ""
        return Status(DEAD_WITH_PID_FILE, f"manylab is dead and left its pid file{more}", record)
    return Status(STOPPED, "manylab is stopped", None)


def start(services_json: Path, *, timeout: float | None = None) -> Record:
    """Start the supervisor in the background and wait until every service answers; done at once when they do.

    timeout: seconds; by default what services.json gives the services to get ready. Raises ConfigError, Refused where
    the supervisor would inherit what it must not (see execution.py), or
    CommandFailed with the last log lines when they do not get ready (the supervisor goes on trying, as systemd would).
    """
    definition = load(services_json)
    record = read_state(definition.state)
    process = None
    if not supervisors(record):
        execution.check(services_json)
        process = _launch(services_json, definition)
    until = time.monotonic() + (timeout or 10 + sum(service.ready_timeout for service in definition.services))
    while time.monotonic() < until:
        record = read_state(definition.state)
        if record is not None and record.ready and supervisors(record) and not record.stopping:
            return record
        if process is not None and process.poll() is not None:
            if process.returncode == EXIT_CONFIG:
                raise ConfigError(f"{services_json} is not as it should be", hint="run `manylab apply`")
            if process.returncode != EXIT_LOCKED:  # locked: somebody else is starting it, wait for them
                raise _not_started(definition, None, f"the supervisor ended with status {process.returncode}")
            if record is not None and record.stopping:
                raise Locked("manylab is being stopped just now", hint="wait for it, then start it again")
            process = None
        if _hopeless(record):
            break
        time.sleep(_LOOK_EVERY)
    raise _not_started(definition, record, "not every service got ready")


def stop(services_json: Path, *, keep_servers: bool = False, timeout: float | None = None) -> bool:
    """Stop everything (or all but people's servers) and wait; what does not end in time is killed.

    Returns False when there was nothing to stop. Works too when the supervisor itself was killed.
    """
    definition = load(services_json)
    state = definition.state
    patience = sum(
        service.stop_timeout + service.before_stop_timeout for service in definition.services if service.before_stop
    )
    patience += sum(service.stop_timeout for service in definition.services if not service.before_stop)
    until = time.monotonic() + (timeout or patience + 15)
    number = signal.SIGUSR1 if keep_servers else signal.SIGTERM
    # Of a restart that was killed in the middle: the supervisor is to end now.
    (state / RESTART_FILE).unlink(missing_ok=True)
    record = read_state(state)
    if not supervisors(record) and not living_services(record):
        remove_files(state)
        return False
    told: set[Identity] = set()
    seen: set[Identity] = set()
    helper: subprocess.Popen[bytes] | None = None
    while time.monotonic() < until:
        record = read_state(state) or record
        alive = supervisors(record)
        seen.update(alive, living_services(record))
        # Guardian and inner process can change places while we wait: tell whoever leads now, each once.
        if alive and alive[0] not in told and processes.send(alive[0], number):
            told.add(alive[0])
        if helper is not None and helper.poll() is not None:
            helper = None
        if not alive and helper is None:
            if not living_services(record):
                break
            helper = _launch(
                services_json, definition, "--inner", "0:0", "--request", "leave" if keep_servers else "stop"
            )
        time.sleep(_LOOK_EVERY)
    left = [who for who in seen if processes.is_alive(who)]
    if left:
        _kill(left, with_descendants=not keep_servers)
    if helper is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            helper.wait(1)
    remove_files(state)
    return True


def restart(services_json: Path, *, keep_servers: bool = True) -> Record:
    """Stop and start again; people's servers go on unless `keep_servers` is False.

    A supervisor that runs does it itself, so that it stays what it is and inherits nothing of whoever asks.
    """
    definition = load(services_json)
    before = read_state(definition.state)
    if not keep_servers or before is None or before.mode != "service" or not supervisors(before):
        execution.check(services_json)  # before anything is stopped
        stop(services_json, keep_servers=keep_servers)
        return start(services_json)
    # Which Python goes on: that of an environment that was upgraded meanwhile is another one.
    replace_text(definition.state / RESTART_FILE, f"{sys.executable}\n")
    until = time.monotonic() + sum(service.stop_timeout for service in definition.services) + 15
    processes.send(supervisors(before)[0], signal.SIGUSR1)
    while time.monotonic() < until and supervisors(before):
        record = read_state(definition.state)
        if record is not None and record.inner != before.inner and not record.stopping:
            break
        time.sleep(_LOOK_EVERY)
    with contextlib.suppress(FileNotFoundError):
        (definition.state / RESTART_FILE).unlink()
    return start(services_json)


def reload(services_json: Path, *, timeout: float | None = None) -> Record:
    """Have a running supervisor read services.json again and wait until what changed has been restarted.

    Starts it when it does not run. Raises CommandFailed when a service does not get ready.
    """
    definition = load(services_json)
    alive = supervisors(read_state(definition.state))
    if not alive:
        return start(services_json, timeout=timeout)
    wanted = {service.name: service.digest for service in definition.services}
    processes.send(alive[0], signal.SIGUSR2)
    until = time.monotonic() + (timeout or 30 + sum(s.ready_timeout + s.stop_timeout for s in definition.services))
    while time.monotonic() < until:
        record = read_state(definition.state)
        if record is not None and {s.name: s.digest for s in record.services} == wanted:
            if record.ready:
                return record
            if _hopeless(record):
                break
        time.sleep(_LOOK_EVERY)
    raise _not_started(definition, read_state(definition.state), "not every service got ready")


def _launch(services_json: Path, definition: Definition, *more: str) -> subprocess.Popen[bytes]:
    output = open_log(definition.logs / "supervisor.log")
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "manylab.supervise", str(services_json), *more],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": children.PATH, "LANG": "C.UTF-8"},
            cwd="/",
            umask=0o022,
            start_new_session=True,
        )
    finally:
        os.close(output)


def _hopeless(record: Record | None) -> bool:
    """Whether a service has failed so often without ever answering that waiting longer tells nothing new."""
    return record is not None and any(s.state == "backoff" and s.steps >= 4 for s in record.services)


def _not_started(definition: Definition, record: Record | None, why: str) -> CommandFailed:
    failing = [s.name for s in record.services if s.state != "running"] if record is not None else []
    log = definition.logs / f"{failing[0] if failing else 'supervisor'}.log"
    lines = last_lines(log, 10)
    message = f"manylab did not start: {why}"
    if failing:
        message += f" ({', '.join(failing)})"
    return CommandFailed(message, hint=f"read {log}", lines=lines, log=str(log), failing=failing)


def _kill(left: list[Identity], *, with_descendants: bool) -> None:
    if with_descendants:
        table = processes.everything()
        below = processes.descendants({who.pid for who in left}, table)
        left = left + [Identity(pid, table[pid].starttime, processes.boot_id()) for pid in below]
    children.end_all(left, patience=0.0)
