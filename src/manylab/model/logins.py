"""What members of the site's group find in every login: the user environment first on PATH, and the site's variables,
in the words of each kind of shell. Pure text.

The files lie where each shell looks for them by itself; nobody's own files are changed. zsh has no such place: a line
in Debian's /etc/zsh/zprofile has it read the file of the others.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from manylab.base import names
from manylab.base.layout import Layout
from manylab.model.resources import Line
from manylab.model.units import PREFIX

_WHAT = (
    "# Members of the group {group} have the shared Python first on PATH, and the variables of servers.environment.\n"
)


def sh(*, group: str, folder: str, variables: Mapping[str, str]) -> str:
    """/etc/profile.d/manylab.sh, for every shell of the Bourne family; it can be read twice."""
    quoted = shlex.quote(folder)
    more = "".join(f"    {name}={shlex.quote(value)}; export {name}\n" for name, value in variables.items())
    return f"""{_head(group)}if {_member(shlex.quote(group))}; then
    case ":${{PATH:-}}:" in
      *:{quoted}:*) ;;
      *) PATH={quoted}${{PATH:+:$PATH}}; export PATH ;;
    esac
{more}fi
"""


def zsh(layout: Layout) -> Line:
    """The line in /etc/zsh/zprofile."""
    path = shlex.quote(str(layout.profile_file))
    return Line(layout.zsh_file, f"[ ! -r {path} ] || . {path}  # manylab")


def fish(*, group: str, folder: str, variables: Mapping[str, str]) -> str:
    """/etc/fish/conf.d/manylab.fish."""
    more = "".join(f"    set -gx {name} {_fish(value)}\n" for name, value in variables.items())
    return f"""{_head(group)}if status is-login; and {_member(_fish(group))}
    if not contains -- {_fish(folder)} $PATH
        set -gx PATH {_fish(folder)} $PATH
    end
{more}end
"""


def csh(*, group: str, folder: str, variables: Mapping[str, str]) -> str:
    """/etc/csh/login.d/manylab, which Debian's /etc/csh.login reads for csh and tcsh."""
    more = "".join(f"  setenv {name} {_csh(value)}\n" for name, value in variables.items())
    return f"""{_head(group)}sh -c {_csh(_member('"$1"'))} sh {_csh(group)}
if ( $status == 0 ) then
  if ( ":${{PATH}}:" !~ {_csh(f"*:{folder}:*")} ) setenv PATH {_csh(folder)}":${{PATH}}"
{more}endif
"""


def generator(*, group: str, folder: str, variables: Mapping[str, str]) -> str:
    """An environment generator for people's own systemd (systemd.environment-generator(7)): prints NAME=value lines."""
    pairs = (f"{name}={shlex.quote(value)}" for name, value in variables.items())
    more = "".join(f"    printf '%s\\n' {shlex.quote(pair)}\n" for pair in pairs)
    return f"""#!/bin/sh
{_head(group)}if {_member(shlex.quote(group))}; then
    printf '%s\\n' PATH={shlex.quote(folder)}":${{PATH:-/usr/local/bin:/usr/bin:/bin}}"
{more}fi
"""


def _head(group: str) -> str:
    names.group(group)
    return PREFIX + _WHAT.format(group=group)


def _member(quoted: str) -> str:
    """A command that fails for accounts which are not in the group; names of groups may have spaces."""
    return f"id -Gnz 2>/dev/null | grep -zqxF -- {quoted}"


def _fish(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _csh(value: str) -> str:
    """In single quotes, where csh still reads "!" and ends at a newline."""
    return "'" + value.replace("'", "'\\''").replace("!", "\\!").replace("\n", "\\\n") + "'"
