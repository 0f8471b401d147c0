"""Which tests one worker runs one after the other, and which of them begin.

A site is made once for the tests that use it, so they are for one worker: those of a file, and where a file has sites
of several Debians or init systems, those of each. The longest begin, or a single worker would have one of them left
when the others have nothing to do any more; short ones fill what is left.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadFileScheduling

# As tests are named that get their site from a fixture with parameters.
_SITE = re.compile(r"\[((?:bookworm|trixie)(?:-(?:none|sysv|systemd))?|none|sysv|systemd)[]-]")
# Beginnings of names below tests/, in order. Within a folder the longest files are first (`./manylab test` ends with
# the slowest), then all others.
ORDER = (
    # These need no site: there is something to do while the first ones are being made.
    "security/",
    "unit/test_supervise_processes",
    "unit/test_kernels_warm_and_cold",
    "unit/test_conda_damage",
    "unit/test_conda_build",
    "machine/test_bench",
    "machine/test_site_first_run",
    "machine/test_standing_crowd",
    "machine/test_server_extensions",
    "machine/test_env_generations",
    "machine/test_env_evil_index",
    "machine/test_apply_config",
    "machine/test_standing_kills",
    "machine/test_standing_thousand",
    "machine/test_bundle",
    "machine/test_warm_use",
    "machine/test_apply_crash",
    "machine/test_env_conda",
    "machine/test_standing_site",
    "machine/test_apply_rollback",
    "machine/test_facts_of_the_machine",
    "machine/test_kernel_conformance",
    "machine/test_ways_in",
    "machine/test_limits",
    "machine/test_pam_session",
    "machine/test_recipe_people",
    "machine/test_recipe_environment",
    "machine/",
    "browser/",
    "unit/",
)


def unit_of_work(nodeid: str) -> str:
    """The name that all tests have in common which are for one worker."""
    path, _, test = nodeid.partition("::")
    site = _SITE.search(test)
    return f"{path} {site[1]}" if site else path


def place(path: str, first: bool) -> tuple[bool, int]:
    """Sorts tests by their file, and whether they are marked as `first`."""
    name = path.rpartition("tests/")[2]
    return not first, next((number for number, begin in enumerate(ORDER) if name.startswith(begin)), len(ORDER))


class BySite(LoadFileScheduling):
    """pytest-xdist's `--dist loadfile`, with units of work of our own."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of_work(nodeid)
