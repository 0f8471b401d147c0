"""The last steps of warm and cold kernels alike: this process becomes `python -m ipykernel_launcher`."""

from __future__ import annotations

import runpy
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

# As ipykernel's own kernel spec has it.
LAUNCHER: Final = "ipykernel_launcher"


def become(argv: Sequence[str], path: Sequence[str]) -> None:
    """Have this command line and sys.path, and a new `__main__`, as when `python -m` begins."""
    sys.orig_argv[:] = argv
    sys.argv[:] = ["-m", *argv[list(argv).index(LAUNCHER) + 1 :]]
    # As `python -m` does; the launcher takes it off again.
    sys.path[:] = [str(Path.cwd()), *path]
    main = types.ModuleType("__main__")
    vars(main)["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:
        sys.modules["__mp_main__"] = main


def vanish() -> None:
    """Take along that manylab was here."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "manylab"]:
        del sys.modules[name]
    packages = str(Path(__file__).parents[2])
    ours = f"{packages}/manylab"
    for folder in [name for name in sys.path_importer_cache if name == packages or name.startswith(ours)]:
        if folder not in sys.path:
            del sys.path_importer_cache[folder]


def launch(argv: Sequence[str], path: Sequence[str]) -> NoReturn:
    """Run it with this command line and sys.path.

    Ends with SystemExit, so that the interpreter ends as it always does.
    """
    become(argv, path)
    vanish()
    runpy._run_module_as_main(LAUNCHER)  # type: ignore[attr-defined]
    sys.exit(0)
