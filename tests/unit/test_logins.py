"""What members find in a login, in the words of each shell; other accounts find nothing."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from manylab.model import logins

FOLDER = "/opt/manylab/envs/default/current/bin"
# Everything that one of the shells takes for its own.
VALUE = 'it\'s 100% "so" $HOME `id` !1 \\ 中文'
SAID = {"group": "the lab", "folder": FOLDER, "variables": {"MODEL": VALUE}}


def after(shell: str, folder: Path, groups: str) -> tuple[str, str]:
    """PATH and MODEL in a shell that has read its file twice, as a member of these groups."""
    (fake := folder / "bin").mkdir(exist_ok=True)
    (fake / "id").write_text(f"#!/bin/sh\nprintf '%s\\0' {groups}\n")
    (fake / "id").chmod(0o755)
    (file := folder / "login").write_text(logins.sh(**SAID))
    command = f'. {file}; . {file}; printf \'%s|%s\' "$PATH" "${{MODEL-}}"'
    environ = {"PATH": f"{fake}:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run([shell, "-euc", command], env=environ, capture_output=True, text=True, check=True)
    path, _, model = done.stdout.partition("|")
    return path.replace(f"{fake}:", ""), model


# fish and tcsh are tried on machines that have them (tests/machine/test_ways_in.py).
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_members_have_the_environment_first_on_path_once_and_the_sites_variables(shell, tmp_path):
    assert after(shell, tmp_path, "staff 'the lab'") == (f"{FOLDER}:/usr/bin:/bin", VALUE)
    assert after(shell, tmp_path, "staff the lab") == ("/usr/bin:/bin", "")


def test_a_persons_systemd_is_told_names_and_values(tmp_path):
    (program := tmp_path / "generator").write_text(logins.generator(**SAID))
    program.chmod(0o755)
    (tmp_path / "id").write_text("#!/bin/sh\nprintf '%s\\0' staff 'the lab'\n")
    (tmp_path / "id").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([program], env=environ, capture_output=True, text=True, check=True)
    path, model = done.stdout.splitlines()
    assert path == f"PATH={FOLDER}:{environ['PATH']}"
    assert shlex.split(model) == [f"MODEL={VALUE}"]
    (tmp_path / "id").write_text("#!/bin/sh\nprintf '%s\\0' the lab\n")
    assert subprocess.run([program], env=environ, capture_output=True, text=True, check=True).stdout == ""
