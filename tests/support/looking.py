"""What tests ask of a site's machine: answers of commands as data, and every file as it is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from typing import Any

from harness import INITS, SUITES, Completed, Init, Machine

from support.build import site_root, small_root
from support.site import Site

# Where a site keeps things, without what it remembers while it runs.
FOLDERS = ("/etc", "/opt/manylab", "/var/lib/manylab", "/usr/local")

EVERYWHERE = os.environ.get("MANYLAB_EVERYWHERE") == "1"


def in_memory(suite: str, init: Init = "none", *, small: bool = False, **more: Any) -> Machine:
    """The usual machine of a Site with its disk in memory: quick to write to and to throw away. small: for a site whose
    default environment is that of support.build.SMALL.
    """
    return Machine((small_root if small else site_root)(suite, init), tmpfs="3G", **more)


def data_of(done: Completed) -> Any:
    """The JSON value that a command printed with --json."""
    return json.loads(done.stdout)


def ask(site: Site, *words: str, timeout: float = 300.0) -> Any:
    """`./manylab WORDS --json`, which must succeed."""
    done = site.manylab(*words, "--json", timeout=timeout, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{site.logs(80)}"
    return data_of(done)


def refusal(site: Site, *words: str, timeout: float = 300.0) -> dict[str, Any]:
    """The error of `./manylab WORDS --json`, which must fail with status 1 and say what to do next."""
    done = site.manylab(*words, "--json", timeout=timeout, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    error: dict[str, Any] = data_of(done)["error"]
    assert error["message"], error
    assert error["hint"] or all(problem["hint"] for problem in error["problems"]), error
    assert "Traceback" not in done.stdout + done.stderr
    return error


def planned(site: Site) -> dict[str, list[str]]:
    """What `plan` would change: resource -> reasons."""
    return {change["resource"]: change["why"] for change in ask(site, "plan")["changes"]}


def tree(machine: Machine, *folders: str, ignore: Collection[str] = (), times: bool = True) -> dict[str, str]:
    """Everything below the folders: path -> kind, mode, owner, group, target of a link, and (`times`) size and when
    it was changed. ignore: paths that are left out with all that is in them.
    """
    prune = [word for path in ignore for word in ("-path", path, "-prune", "-o")]
    shown = "%p\\t%y %#m %u:%g %l" + (" %s %T@" if times else "") + "\\n"
    found = machine.run(["find", *folders, "-xdev", *prune, "-printf", shown], check=False).stdout
    # The size of a folder is the file system's own business.
    rows = (line.split("\t", 1) for line in found.splitlines())
    return {path: re.sub(r" \d+ (?=[\d.]+$)", " ", facts) if facts.startswith("d") else facts for path, facts in rows}


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What is different between two trees: path -> (before, after), "" for what is not there."""
    return {
        path: (before.get(path, ""), after.get(path, ""))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    }


def leftovers(machine: Machine) -> list[str]:
    """Files that only exist while something is being written, and environments that are not complete."""
    folders = "/etc /opt/manylab/envs /opt/manylab/etc /opt/manylab/share /var/lib/manylab /usr/local"
    half = f"find {folders} -name '*.manylab-new'"
    unmarked = (
        "for folder in /opt/manylab/envs/*/*/; do case $folder in */current/) ;; *) "
        "[ -e $folder/manylab-environment.json ] || echo $folder;; esac; done"
    )
    new = "ls -d /var/lib/manylab/generations/.new 2>/dev/null || true"
    return machine.run(f"{half}; {unmarked}; {new}").stdout.splitlines()


def everywhere(*usual: tuple[str, Init]) -> list[tuple[str, Init]]:
    """Where a test runs: on these machines; with MANYLAB_EVERYWHERE=1 on both Debians with each kind of PID 1."""
    if not EVERYWHERE:
        return list(usual)
    return [(suite, init) for suite in SUITES for init in INITS]
