"""Throwaway accounts: made for one bench, known by their home, and gone after it, whatever happened to it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from manylab.cli.bench.place import GROUP, PREFIX, Place, name_of
from manylab.system import accounts
from manylab.system.run import run
from manylab.warden import processes

# Seconds for processes that were told to end; after that they are ended.
PATIENCE = 5.0
# chpasswd hashes each password with what the machine uses for real ones, about 0.1 s each.
HASHING = 600.0


@contextlib.contextmanager
def crowd(place: Place, count: int, say: Callable[[str], None]) -> Iterator[list[tuple[str, str]]]:
    """So many people, (name, password) each, who may sign in as long as this lasts."""
    people = [(name_of(number), secrets.token_urlsafe(18)) for number in range(1, count + 1)]
    place.homes.mkdir(parents=True)
    place.homes.chmod(0o755)
    try:
        run(["groupadd", "--force", GROUP])
        for number, (name, _) in enumerate(people, 1):
            if number % 20 == 1:
                say(f"making {count} throwaway accounts, {number - 1} done")
            home = place.homes / name
            run(["useradd", "--create-home", "--home-dir", str(home), "--shell", "/bin/bash", "--groups", GROUP, name])
            home.chmod(0o700)
        say(f"setting {count} throwaway passwords")
        run(["chpasswd"], input="".join(f"{name}:{password}\n" for name, password in people), timeout=HASHING)
        yield people
    finally:
        remove(place, say)


def remove(place: Place, say: Callable[[str], None]) -> int:
    """Remove every throwaway account with its processes and its home; returns how many there were.

    Only accounts whose name and home are a bench's: somebody may really be called mlbench001.
    """
    ours = [
        entry
        for entry in pwd.getpwall()
        if entry.pw_name.startswith(PREFIX) and Path(entry.pw_dir).parent == place.homes
    ]
    end_processes({entry.pw_uid for entry in ours})
    for number, entry in enumerate(ours, 1):
        if number % 20 == 1:
            say(f"removing {len(ours)} throwaway accounts, {number - 1} done")
        run(["userdel", entry.pw_name], timeout=120)
    if accounts.group_exists(GROUP):
        run(["groupdel", GROUP])
    return len(ours)


def processes_of(uids: set[int]) -> list[processes.Process]:
    """Every living process of these accounts."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 (names, not paths, and there are thousands)
        if entry.isdigit() and processes.uids(int(entry)) & uids:
            seen = processes.see(int(entry))
            if seen is not None and seen.alive:
                found.append(seen.process)
    return found


def end_processes(uids: set[int]) -> None:
    """End everything that runs as one of these accounts."""
    if not uids:
        return
    deadline = time.monotonic() + PATIENCE
    while left := processes_of(uids):
        harsh = time.monotonic() > deadline
        for process in left:
            processes.send(process, signal.SIGKILL if harsh else signal.SIGTERM)
        time.sleep(0.1)
        if time.monotonic() > deadline + PATIENCE:
            return
