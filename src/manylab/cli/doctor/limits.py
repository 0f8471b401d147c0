"""Limits that are asked for and that nothing on this machine can hold people to."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from manylab.cli.doctor.scene import Scene
from manylab.cli.doctor.table import Finding, check, warning
from manylab.config.schema import Config
from manylab.warden import cgroup_files, cgroups

TOTAL = "servers.total_memory"
_KINDS = ("memory", "cpu", "tasks")


def asked(config: Config) -> dict[str, list[str]]:
    """The settings that ask for a limit, by what they limit. Pure."""
    found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for kind in _KINDS:
        if getattr(config.servers, kind) is not None:
            found[kind].append(f"servers.{kind}")
        for table, entries in (("groups", config.limits.groups), ("people", config.limits.people)):
            names = (name for name, entry in entries.items() if getattr(entry, kind) not in (None, "default"))
            found[kind] += [f"limits.{table}.{name}.{kind}" for name in names]
    if config.servers.total_memory is not None:
        found["memory"].append(TOTAL)
    return found


def unenforced(config: Config, held: Collection[str]) -> list[str]:
    """Settings that have no effect where only these of "memory", "cpu" and "tasks" are held. Pure.

    Not tasks: where no control group counts them, the warden has the machine count each person's (RLIMIT_NPROC).
    """
    wanted = asked(config)
    return [name for kind in _KINDS if kind not in (*held, "tasks") for name in wanted[kind]]


_MEND = (
    "have control groups mounted (without systemd: sudo apt install cgroupfs-mount), and run the site where they can "
    "be written: on a machine of its own, or in a container that may have them (docs/how-to/limits.md); or "
)


@check(
    "limits-unenforced",
    "Limits of memory and processors are really held",
    why=(
        "Limits of a whole server (with all its kernels) are held by control groups; where those cannot be had, as in "
        "many containers, one person can take everything."
    ),
    mend=f"{_MEND}set the limit to none: sudo manylab config set servers.memory none",
)
def limits_unenforced(scene: Scene) -> Iterator[Finding]:
    if scene.layout.system:
        scene.need_root()
        by_systemd = scene.site.facts.systemd_runs
        held = cgroups.limited("systemd") if by_systemd else cgroup_files.look()
        here = "systemd takes them and does not hold them" if by_systemd else "control groups cannot be written"
    else:
        held, here = frozenset(), "only root can set limits"
    # A personal site has one person, and what all may use together is no question there.
    if left := [name for name in unenforced(scene.config, held) if scene.layout.system or name != TOTAL]:
        commands = "; ".join(f"sudo manylab config set {name} none" for name in left)
        yield warning(f"no effect on this machine, where {here}: {', '.join(left)}", f"{_MEND}do without: {commands}")
