"""Takes away what manylab made, and only that: from its own record, not from a guess."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manylab.apply import generations, made
from manylab.apply.lock import exclusive
from manylab.base.errors import AlreadyRunning, NeedsRoot
from manylab.base.layout import Layout
from manylab.model import logins, scripts
from manylab.model.accounts import OWN_ACCOUNTS, OWN_GROUPS
from manylab.model.resources import Directory, KernelLinks
from manylab.system import accounts, servers, supervisor
from manylab.system.environments import Say, kernel_links
from manylab.system.facts import read_installed
from manylab.system.files import make_directory, remove_line, remove_path, write_file
from manylab.system.run import run
from manylab.system.services.managers import manager_for

# Files of the machine's own folders that some version of manylab makes; only removed where the record or this list
# names them.
_UNITS = (
    "manylab.service",
    "manylab-warden.service",
    "manylab-proxy.service",
    "manylab-hub.service",
    "manylab-servers.slice",
    "manylab.slice",
)


@dataclass(frozen=True)
class Planned:
    """What an uninstall deletes, paths and "account NAME", "group NAME"; and what stays, in words."""

    deleted: tuple[str, ...]
    kept: tuple[str, ...]


def plan(layout: Layout, *, purge: bool) -> Planned:
    """What `uninstall` would do now."""
    paths = [str(path) for path in _paths(layout, purge=purge) if path.is_symlink() or path.exists()]
    kept = [] if purge else [f"{layout.config} and {layout.state}: configuration, database (--purge deletes them)"]
    if not layout.system:
        return Planned(tuple(paths), (*kept, "your other files"))
    keys = _keys(layout, purge=purge)
    for name in sorted(key.partition(" ")[2] for key in made.read(layout) if key.startswith("group ")):
        if f"group {name}" not in keys and accounts.group_exists(name):
            members = ", ".join(accounts.members(name)) or "nobody"
            kept.append(f"the group {name} with its members ({members})")
    return Planned((*paths, *keys), (*kept, "people's accounts and their homes"))


def uninstall(layout: Layout, *, purge: bool, wait: float, say: Say) -> list[str]:
    """Stop the site and remove it; returns the paths and accounts that were removed.

    Kept without `purge`: the configuration, the state (database, generations, locks) and the site's group. Never
    touched: homes, people's accounts, their membership of the site's group, and what was there before manylab.

    Raises NeedsRoot, and AlreadyRunning while somebody serves the site in a terminal.
    """
    if layout.system and os.getuid() != 0:
        raise NeedsRoot("removing a site needs root", hint="run it again with sudo in front")
    with exclusive(layout.apply_lock, wait=wait, say=say):
        removed = _uninstall(layout, purge=purge, say=say)
    remove_path(layout.run)
    return removed


def _uninstall(layout: Layout, *, purge: bool, say: Say) -> list[str]:
    service = read_installed(layout).get("service", "")
    manager = manager_for(service, layout)
    if manager is None and supervisor.guardian(layout.supervisor_run) is not None:
        raise AlreadyRunning(
            "somebody serves this site in a terminal ('manylab up')",
            hint="stop it there with Ctrl-C, then run this again",
        )
    if manager is not None:
        say("remove the service")
        servers.stop_all(layout.warden_socket)
        manager.stop("manylab")
        for name in ("manylab", *(unit.removesuffix(".service") for unit in _UNITS[1:4] if service == "systemd")):
            manager.disable(name)
    removed = []
    keys = _keys(layout, purge=purge) if layout.system else []
    for path in _paths(layout, purge=purge):
        if path.is_symlink() or path.exists():
            say(f"remove {path}")
            remove_path(path)
            removed.append(str(path))
    if layout.system:
        removed += kernel_links.remove(KernelLinks(layout.jupyter_data / "kernels", layout.machine_kernels))
        removed += [f"a line in {layout.zsh_file}"] if remove_line(logins.zsh(layout)) else []
        # Folders of shells and fonts that may not be there.
        shells = (*layout.fish_file.parents[:2], *layout.csh_file.parents[:2], layout.user_generator.parent)
        for folder in (*shells, layout.system_font.parent):
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.rmdir()
    if service == "systemd":
        assert manager is not None
        # The one above that of people's servers.
        run(["systemctl", "--no-ask-password", "stop", "manylab.slice"], check=False)
        manager.daemon_reload()
    if layout.system:
        _forget_wsl_boot(layout.root / "etc/wsl.conf")
        removed += _remove_accounts(keys, say)
        if layout.hub_state.is_dir():
            # The hub's number may be given to another account; `install` hands the folder to the hub again.
            make_directory(Directory(layout.hub_state, 0o700, "root", "root", contents=True))
    return removed


def _paths(layout: Layout, *, purge: bool) -> list[Path]:
    recorded = generations.current(layout)
    found = [Path(path) for path in recorded.paths] if recorded is not None else []
    if layout.system:
        found += [
            layout.pam_file,
            layout.profile_file,
            layout.fish_file,
            layout.csh_file,
            layout.user_generator,
            layout.sudoers_file,
            layout.tmpfiles_file,
            layout.init_script,
            layout.command,
            layout.system_font,
        ]
        found += [layout.systemd_units / name for name in _UNITS]
    inside = (layout.config, layout.state)
    outside = [
        path
        for path in dict.fromkeys(found)
        if not any(path.is_relative_to(folder) for folder in (*inside, layout.program, layout.run))
    ]
    # Secrets and rendered files are made again by the next apply; the record of the installation would be a lie.
    kept_apart = [layout.rendered, layout.proxy_state, layout.installed_json]
    return [*outside, layout.program, layout.logs, *(inside if purge else kept_apart)]


def _keys(layout: Layout, *, purge: bool) -> list[str]:
    """Accounts and groups that go. The site's group says who may sign in: it stays while anybody is in it."""
    own = {*(f"account {name}" for name in OWN_ACCOUNTS), *(f"group {name}" for name in OWN_GROUPS)}
    found = []
    for key in sorted(made.read(layout)):
        kind, _, name = key.partition(" ")
        there = accounts.group_exists(name) if kind == "group" else accounts.find_person(name) is not None
        if there and (key in own or (purge and kind == "group" and not accounts.members(name))):
            found.append(key)
    return found


def _forget_wsl_boot(path: Path) -> None:
    """Take `install --wsl-boot`'s line out of wsl.conf; Windows would start what is no longer there."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if scripts.WSL_COMMAND in text:
        write_file(path, scripts.wsl_conf_without(text), 0o644)


def _remove_accounts(keys: Sequence[str], say: Say) -> list[str]:
    """Accounts before groups: a group that is somebody's primary one cannot go."""
    removed = []
    for key in sorted(keys):
        kind, _, name = key.partition(" ")
        person = accounts.find_person(name) if kind == "account" else None
        if person is not None:
            say(f"remove {key}")
            _end_processes(person.uid)
            run(["userdel", name])
        elif kind == "group" and accounts.group_exists(name):
            say(f"remove {key}")
            run(["groupdel", name])
        else:
            continue
        removed.append(key)
    return removed


def _end_processes(uid: int) -> None:
    """userdel refuses while the account still has processes; they were told to stop and may take a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(_uid_of(folder) == uid for folder in Path("/proc").glob("[0-9]*")):
        time.sleep(0.1)


def _uid_of(folder: Path) -> int:
    try:
        return folder.stat().st_uid
    except OSError:
        return -1
