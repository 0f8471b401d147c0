"""What is not a systemd unit: the init script and small files of /etc. Pure text."""

from __future__ import annotations

import re
import shlex

from manylab.base import names
from manylab.base.errors import ConfigError, Refused
from manylab.model.units import PREFIX


def init_script_text(*, python: str, services_json: str, state: str) -> str:
    """/etc/init.d/manylab, POSIX sh: LSB's actions and codes; `python -m manylab.supervise` does the work."""
    settings = "\n".join(
        f"{name}={shlex.quote(value)}"
        for name, value in (("PYTHON", python), ("SERVICES", services_json), ("STATE", state))
    )
    return _INIT_SCRIPT.replace("@SETTINGS@", settings)


def sudoers_text(operator: str, command: str = "/usr/local/bin/manylab") -> str:
    """/etc/sudoers.d/manylab: one account may start, stop and restart the service and see its status, as root."""
    # Letters, digits, "_" and "-" need no escape (sudoers(5)), but a word of capitals would be an alias, such as ALL.
    user = re.sub(
        rb"^[A-Z0-9]|[^A-Za-z0-9_-]", lambda found: b"\\x%02x" % ord(found[0]), names.account(operator).encode()
    ).decode()
    if operator[0] in "#%+":
        raise ConfigError(f"{operator!r:.80} would be a number or a group in a sudoers file")
    if not re.fullmatch(r"/[A-Za-z0-9/._-]+", command):
        raise ConfigError(f"{command!r:.80} cannot be in a sudoers file")
    actions = ", ".join(f"{command} {action}" for action in ("start", "stop", "restart", "status"))
    return f"{PREFIX}{user} ALL=(root) NOPASSWD: NOSETENV: {actions}\n"


# For servers, as for su(1) and sshd. First, so that nothing in the machine's own stack ends the list before them. None
# is required: pam_limits fails where root may not raise a limit (containers), and then has set all the others.
_PAM_SESSION = """\
session optional pam_env.so
session optional pam_limits.so
session optional pam_umask.so
"""
_DEBIAN_LOCALE = "session optional pam_env.so envfile=/etc/default/locale\n"


def pam_text(style: str, min_uid: int = 1000) -> str:
    """/etc/pam.d/manylab: the system's password check for people's accounts, and its session for their servers.

    style: "debian", "redhat", "other".
    """
    guard = f"auth requisite pam_succeed_if.so uid >= {min_uid} quiet\n"
    if style == "debian":
        session = f"{_PAM_SESSION}{_DEBIAN_LOCALE}@include common-session\n"
        return f"{PREFIX}{guard}@include common-auth\n@include common-account\n{session}"
    stack = {"redhat": "system-auth", "other": "system-auth"}[style]
    session = f"{_PAM_SESSION}session include {stack}\n"
    return f"{PREFIX}{guard}auth include {stack}\naccount include {stack}\n{session}"


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
