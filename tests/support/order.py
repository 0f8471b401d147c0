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
# Those of security/ need no site: there is something to do while the first sites are being made.
_FOLDERS = ("security", "machine", "browser", "unit")
# The longest first (`./manylab test` ends with the slowest files); those that are not here come after them.
LONG = (
    "machine/test_bench",
    "machine/test_site_first_run",
    "machine/test_server_extensions",
    "machine/test_env_generations",
    "machine/test_env_evil_index",
    "machine/test_apply_config",
    "machine/test_standing_kills",
    "machine/test_bundle",
    "machine/test_warm_use",
    "machine/test_apply_crash",
    "machine/test_env_conda",
    "machine/test_standing_site",
    "machine/test_apply_rollback",
    "machine/test_kernel_conformance",
    "machine/test_limits",
    "machine/test_recipe_people",
    "machine/test_recipe_environment",
)


def unit_of_work(nodeid: str) -> str:
    """The name that all tests have in common which are for one worker."""
    path, _, test = nodeid.partition("::")
    site = _SITE.search(test)
    return f"{path} {site[1]}" if site else path


def place(path: str, first: bool) -> tuple[int, int, int]:
    """Sorts tests by their file, and whether they are marked as `first`."""
    inside = re.search(r"tests/([a-z]+)/.+(?=\.py)", path)
    folder, name = (inside[1], inside[0].removeprefix("tests/")) if inside else ("", "")
    return (
        0 if first else 1,
        _FOLDERS.index(folder) if folder in _FOLDERS else len(_FOLDERS),
        LONG.index(name) if name in LONG else len(LONG),
    )


class BySite(LoadFileScheduling):
    """pytest-xdist's `--dist loadfile`, with units of work of our own."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of_work(nodeid)
