"""The services of a site as systemd units and tmpfiles.d, from the items of services.json. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manylab.base.errors import ConfigError

UMBRELLA = "manylab.service"
SLICE = "manylab-servers.slice"
OUTER_SLICE = "manylab.slice"
REVISION_VARIABLE = "MANYLAB_REVISION"
# Hub, proxy and warden are the last to be ended when memory runs out, systemd or not: proc(5), oom_score_adj.
OOM_SCORE = -500
PREFIX = "# Written by manylab apply; changes made here are undone. See `manylab config`.\n"


@dataclass(frozen=True)
class Folder:
    """A folder under /run that must be there before a service starts, also after a reboot. Order: parents first."""

    path: str
    owner: str | None
    group: str | None
    mode: int


@dataclass(frozen=True)
class Program:
    """One of warden, hub, proxy; the fields are those of services.json, in architecture.md, and `description`.

    account None: root. confine: read-only system, private /tmp, no capability but `capabilities`.
    keeps_children: what it started goes on without it (people's servers). before_stop: asked on ready_socket when
    everything is to end. revision: changes when the program changed though its command did not (an upgrade).
    """

    name: str
    description: str
    argv: tuple[str, ...]
    account: str | None = None
    group: str | None = None
    groups: tuple[str, ...] = ()
    env_file: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    umask: str = "0022"
    writable: tuple[str, ...] = ()
    confine: bool = False
    capabilities: tuple[str, ...] = ()
    ready_socket: str | None = None
    ready_port: int | None = None
    ready_timeout: float = 60
    stop_timeout: float = 10
    revision: str = ""
    keeps_children: bool = False
    before_stop: dict[str, Any] | None = field(default=None, hash=False)
    notify: bool = False

    @property
    def unit(self) -> str:
        return f"manylab-{self.name}.service"


def program_of(item: Mapping[str, Any], *, description: str, group: str | None = None, notify: bool = False) -> Program:
    """The program of one item of services.json's `services`, so that both ways to run it have one source.

    group: its primary group. notify: it tells systemd when it is ready (sd_notify).
    """
    known = {name: item[name] for name in Program.__dataclass_fields__ if name in item}
    for name in ("argv", "groups", "writable", "capabilities"):
        known[name] = tuple(known.get(name) or ())
    known["environment"] = tuple(sorted((item.get("environment") or {}).items()))
    return Program(**{**known, "description": description, "group": group, "notify": notify})


def tmpfiles_text(folders: Sequence[Folder]) -> str:
    """/etc/tmpfiles.d/manylab.conf: the folders under /run, made anew at each boot (tmpfiles.d(5))."""
    lines = [
        f'd "{_specifiers(one.path)}" {one.mode:04o} {one.owner or "root"} {one.group or "root"} -' for one in folders
    ]
    return PREFIX + "\n".join(lines) + "\n"


def umbrella_text(programs: Sequence[Program]) -> str:
    """manylab.service: one name for all; starting, stopping and restarting it does so to each (their PartOf=)."""
    names = " ".join(program.unit for program in programs)
    return f"""{PREFIX}[Unit]
Description=manylab: JupyterLab for the people of this machine
Documentation=man:systemd.unit(5)
Wants={names}
After={names}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
# People's servers end when this is stopped, and go on when it is restarted. Not by StopPropagatedFrom= in the slice:
# systemd 257 passes on the stop that is half of a restart, too.
ExecStop=-/bin/sh -c "systemctl list-jobs --no-legend {UMBRELLA} | grep -q ' stop ' && systemctl stop {SLICE}"

[Install]
WantedBy=multi-user.target
"""


def slice_text(memory: int | None) -> str:
    """manylab-servers.slice: people's servers, which the umbrella's stop (not its restart) ends. memory: bytes."""
    return f"""{PREFIX}[Unit]
Description=People's servers

[Slice]
{f"MemoryMax={memory}" if memory else "# No MemoryMax=: servers.total_memory is none."}
# Of all that the machine can have: forks must not fail for the rest of it.
TasksMax=80%
"""


def outer_slice_text(weight: int) -> str:
    """manylab.slice, in which systemd puts manylab-servers.slice by its name; it stands beside system.slice."""
    return f"""{PREFIX}[Unit]
Description=manylab

[Slice]
# Beside 100 of system.slice (hub, proxy, sshd) and of user.slice: those answer when everybody computes.
CPUWeight={weight}
"""


def unit_text(program: Program, after: Sequence[Program]) -> str:
    """The unit of one program, started after those before it. Raises ConfigError for text that no unit can hold."""
    before = " ".join(one.unit for one in after)
    order = f"Wants={before}\nAfter={before}\n" if before else ""
    return f"""{PREFIX}[Unit]
Description={_specifiers(program.description)}
PartOf={UMBRELLA}
{order}After=network.target nss-user-lookup.target systemd-tmpfiles-setup.service
# Try for ever, every second: a database that comes up late must not leave the site down.
StartLimitIntervalSec=0

[Service]
Type={"notify" if program.notify else "exec"}
{_before(program)}ExecStart={" ".join(quote(word, command=True) for word in program.argv)}
WorkingDirectory=/
Restart=always
RestartSec=1
TimeoutStartSec={program.ready_timeout + 30:g}
TimeoutStopSec={program.stop_timeout:g}
UMask={program.umask}
# Before other services, and the last to be ended when memory runs out. (Containers may not; systemd then goes on.)
CPUWeight=200
OOMScoreAdjust={OOM_SCORE}
{_environment(program)}{_identity(program)}{_hardening(program)}"""


def _before(program: Program) -> str:
    if program.ready_socket is None or not program.confine:
        return ""
    # configurable-http-proxy goes on without its API when it finds the socket of one that was killed.
    return f"ExecStartPre=/bin/rm -f {quote(program.ready_socket, command=True)}\n"


def _environment(program: Program) -> str:
    lines = [f"Environment={quote(f'{name}={value}')}" for name, value in program.environment]
    if program.revision:  # read back from the running process, to know what it was started with
        lines.append(f"Environment={REVISION_VARIABLE}={quote(program.revision)}")
    if program.env_file is not None:
        lines.append(f"EnvironmentFile={_specifiers(program.env_file)}")
    return "".join(f"{line}\n" for line in lines)


def _identity(program: Program) -> str:
    if program.account is None:
        return ""
    lines = [f"User={program.account}"]
    if program.group is not None:
        lines.append(f"Group={program.group}")
    if program.groups:
        lines.append(f"SupplementaryGroups={' '.join(program.groups)}")
    return "".join(f"{line}\n" for line in lines)


# configurable-http-proxy ends with status 2 when it is told to end.
_CLEAN_EXIT = {"proxy": 2}


def _hardening(program: Program) -> str:
    kill = (
        "# People's servers are not ended with it.\nKillMode=process\n"
        if program.keeps_children
        else "KillMode=mixed\n"
    )
    if program.name in _CLEAN_EXIT:
        kill += f"SuccessExitStatus={_CLEAN_EXIT[program.name]}\n"
    if not program.confine:
        # Scopes are started by a child of the warden: whatever it is denied, people's servers would be denied too.
        return (
            kill
            + "# No sandbox: people's servers would inherit it. What it does is limited by its closed vocabulary.\n"
        )
    capabilities = " ".join(program.capabilities)
    writable = f"ReadWritePaths={' '.join(quote(path) for path in program.writable)}\n" if program.writable else ""
    # No MemoryDenyWriteExecute=: V8 compiles into memory. No PrivateUsers=: the warden knows the hub by its uid.
    return f"""{kill}NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
# Not part of strict's read-only system, and open to everybody: /run/lock, /dev/shm.
ReadOnlyPaths=/run
TemporaryFileSystem=/dev/shm:mode=1777,nosuid,nodev
{writable}ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""


def quote(text: str, *, command: bool = False) -> str:
    """A word as systemd reads it back: specifiers and, in commands, variables are not expanded."""
    if any(character < " " for character in text):
        raise ConfigError(f"{text!r:.80} has a control character and cannot be in a unit")
    escaped = _specifiers(text.replace("\\", "\\\\").replace('"', '\\"'))
    if command:
        escaped = escaped.replace("$", "$$")
    plain = all(character.isalnum() or character in "/._-=:,+@%" for character in escaped)
    return escaped if plain and escaped else f'"{escaped}"'


def _specifiers(text: str) -> str:
    if "\n" in text:
        raise ConfigError(f"{text!r:.80} has a line break and cannot be in a unit")
    return text.replace("%", "%%")
