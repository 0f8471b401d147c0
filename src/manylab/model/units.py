"""The services of a site as systemd units and tmpfiles.d, from the items of services.json. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manylab.base import names
from manylab.base.errors import ConfigError, Refused

UMBRELLA = "manylab.service"
SLICE = "manylab-servers.slice"
REVISION_VARIABLE = "MANYLAB_REVISION"
_PREFIX = "# Written by manylab apply; changes made here are undone. See `manylab config`.\n"


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
    return _PREFIX + "\n".join(lines) + "\n"


def umbrella_text(programs: Sequence[Program]) -> str:
    """manylab.service: one name for all; starting, stopping and restarting it does so to each (their PartOf=)."""
    names = " ".join(program.unit for program in programs)
    return f"""{_PREFIX}[Unit]
Description=manylab: JupyterLab for the people of this machine
Documentation=man:systemd.unit(5)
Wants={names}
After={names}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true

[Install]
WantedBy=multi-user.target
"""


def slice_text() -> str:
    """manylab-servers.slice: people's servers. Ends with `systemctl stop manylab`, goes on through a restart of it."""
    return f"""{_PREFIX}[Unit]
Description=People's servers
# Stop, not restart, is passed on (systemd 249; before that `manylab stop` asks the warden).
StopPropagatedFrom={UMBRELLA}

[Slice]
"""


def unit_text(program: Program, after: Sequence[Program]) -> str:
    """The unit of one program, started after those before it. Raises ConfigError for text that no unit can hold."""
    before = " ".join(one.unit for one in after)
    order = f"Wants={before}\nAfter={before}\n" if before else ""
    return f"""{_PREFIX}[Unit]
Description={_specifiers(program.description)}
PartOf={UMBRELLA}
{order}After=network.target nss-user-lookup.target systemd-tmpfiles-setup.service
# Try for ever, every two seconds: a database that comes up late must not leave the site down.
StartLimitIntervalSec=0

[Service]
Type={"notify" if program.notify else "exec"}
{_before(program)}ExecStart={" ".join(quote(word, command=True) for word in program.argv)}
WorkingDirectory=/
Restart=always
RestartSec=2
TimeoutStartSec={program.ready_timeout + 30:g}
TimeoutStopSec={program.stop_timeout:g}
UMask={program.umask}
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


# --- what is not systemd: the init script, and small files of /etc ------------------------------------------------


def init_script_text(*, python: str, services_json: str, state: str) -> str:
    """/etc/init.d/manylab, POSIX sh: LSB's actions and codes; `python -m manylab.supervise` does the work."""
    settings = "\n".join(
        f"{name}={shell_quote(value)}"
        for name, value in (("PYTHON", python), ("SERVICES", services_json), ("STATE", state))
    )
    return _INIT_SCRIPT.replace("@SETTINGS@", settings)


def sudoers_text(operator: str, command: str = "/usr/local/bin/manylab") -> str:
    """/etc/sudoers.d/manylab: one account may start, stop and restart the service and see its status, as root."""
    names.account(operator)
    if not re.fullmatch(r"/[A-Za-z0-9/._-]+", command):
        raise ConfigError(f"{command!r:.80} cannot be in a sudoers file")
    actions = ", ".join(f"{command} {action}" for action in ("start", "stop", "restart", "status"))
    return f"{_PREFIX}{operator} ALL=(root) NOPASSWD: NOSETENV: {actions}\n"


def profile_text(*, group: str, folder: str) -> str:
    """/etc/profile.d/manylab.sh: the user environment first on PATH, for members of the site's group only."""
    names.group(group)
    quoted = shell_quote(folder)
    return f"""{_PREFIX}# Members of the group {group} have the shared Python first on PATH in login shells.
case " $(id -Gn 2>/dev/null) " in
  *" {group} "*)
    case ":${{PATH:-}}:" in
      *:{quoted}:*) ;;
      *) PATH={quoted}${{PATH:+:$PATH}}; export PATH ;;
    esac ;;
esac
"""


def pam_text(style: str, min_uid: int = 1000) -> str:
    """/etc/pam.d/manylab: the system's password check, for people's accounts; style: "debian", "redhat", "other"."""
    guard = f"auth requisite pam_succeed_if.so uid >= {min_uid} quiet\n"
    if style == "debian":
        return f"{_PREFIX}{guard}@include common-auth\n@include common-account\n"
    stack = {"redhat": "system-auth", "other": "system-auth"}[style]
    return f"{_PREFIX}{guard}auth include {stack}\naccount include {stack}\n"


WSL_COMMAND = "service manylab start"


def wsl_conf(text: str) -> str:
    """/etc/wsl.conf with `[boot] command`, so that the site starts with Windows; everything else stays as it is.

    Raises Refused when another command is set, or systemd is on and would start the service itself.
    """
    lines = text.splitlines()
    added = f'command = "{WSL_COMMAND}"'
    section, boot_line, empty_line = "", None, None
    for number, line in enumerate(lines):
        stripped = line.split("#", 1)[0].strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1].strip().lower()
            boot_line = number if section == "boot" and boot_line is None else boot_line
        key, _, value = (part.strip().strip("\"'") for part in stripped.partition("="))
        if section != "boot":
            continue
        if key.lower() == "systemd" and value.lower() == "true":
            raise Refused(
                "wsl.conf turns systemd on", hint="systemd starts the service then: run `manylab install` there"
            )
        if key.lower() == "command":
            if value == WSL_COMMAND:
                return text
            if value:
                raise Refused(
                    f"wsl.conf has another boot command: {value}", hint=f"add `; {WSL_COMMAND}` to it yourself"
                )
            empty_line = number
    if empty_line is not None:
        lines[empty_line] = added
    elif boot_line is not None:
        lines.insert(boot_line + 1, added)
    else:
        lines += [*([""] if lines and lines[-1].strip() else []), "[boot]", added]
    return "\n".join(lines) + "\n"


def wsl_conf_without(text: str) -> str:
    """The same file without what wsl_conf added, for uninstall; a [boot] section that is then empty stays."""
    kept = [line for line in text.splitlines() if line.strip() != f'command = "{WSL_COMMAND}"']
    return "\n".join(kept) + "\n" if kept else ""


def shell_quote(text: str) -> str:
    """A word as a POSIX shell reads it back."""
    return shlex.quote(text)


# LSB 5.0, "Init Script Actions". Run with `sh -e`, an empty environment and any working directory.
_INIT_SCRIPT = r"""#!/bin/sh
### BEGIN INIT INFO
# Provides:          manylab
# Required-Start:    $local_fs $remote_fs $network $named $time
# Required-Stop:     $local_fs $remote_fs $network
# Should-Start:      $syslog nslcd sssd postgresql slapd
# Should-Stop:       $syslog nslcd sssd postgresql slapd
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: JupyterLab for the people of this machine
# Description:       The supervisor of manylab: it keeps the warden, the proxy and the hub alive.
### END INIT INFO
# chkconfig: 2345 90 10
# Written by manylab apply; changes made here are undone.

@SETTINGS@
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C.UTF-8
export PATH LC_ALL
unset PYTHONPATH PYTHONHOME || true
umask 022
cd /

# Ask the supervisor's own program; "$1" is the action. Its messages are for people, its exit status for us.
ask() {
    "$PYTHON" -I -m manylab.supervise "$SERVICES" --state "$STATE" "$@"
}

is_running() {
    ask --status >/dev/null 2>&1
}

# say ACTION STATUS: one line, and the status of this script.
finish() {
    if [ "$2" -eq 0 ]; then echo "manylab: $1"; else echo "manylab: $1 failed" >&2; fi
    exit "$2"
}

perform() {
    status=0
    ask "$@" || status=$?
    finish "${1#--}" "$status"
}

case "${1:-}" in
    start | stop | restart | force-reload | reload | try-restart)
        [ -x "$PYTHON" ] || { echo "manylab: $PYTHON is not there: run 'manylab apply'" >&2; exit 5; }
        [ "$(id -u)" -eq 0 ] || { echo "manylab: only root can do that" >&2; exit 4; }
        [ -r "$SERVICES" ] || { echo "manylab: $SERVICES is not there: run 'manylab apply'" >&2; exit 6; }
        ;;
esac

case "${1:-}" in
    start) perform --start ;;
    stop) perform --stop ;;
    # People's servers go on through these.
    restart) perform --restart ;;
    reload | force-reload) perform --reload ;;
    try-restart)
        if is_running; then perform --restart; fi
        echo "manylab: does not run"
        ;;
    status)
        [ -x "$PYTHON" ] || { echo "manylab: not known ($PYTHON is not there)"; exit 4; }
        status=0
        ask --status || status=$?
        exit "$status"
        ;;
    "")
        echo "Usage: $0 {start|stop|restart|force-reload|reload|try-restart|status}" >&2
        exit 2
        ;;
    *)
        echo "Usage: $0 {start|stop|restart|force-reload|reload|try-restart|status}" >&2
        exit 3
        ;;
esac
"""
