"""`PYTHON -m manylab.warm.main.kernel PROGRAM ARGUMENTS`, in the folder that has manylab: a nursery of kernels.

To run a module of a package, Python imports the package first. The import of this one lasts as long as the nursery
does, and ends in children only; what Python then finds is ipykernel's launcher. So below a kernel are the frames of one
that was started cold and none of the nursery's: in tracebacks, `inspect.stack()`, and in how deep a cell can recurse.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any, Final

from manylab.warm import takeover

_MODULE: Final = f"{__name__}.kernel"
# PROGRAM, which has `main(argv)`, is known by this name.
_PROGRAM: Final = "manylab.warm.program"


def _run(argv: list[str]) -> None:
    """Returns in a child, which is a kernel but for ipykernel's launcher."""
    del sys.path[0]
    os.chdir("/")
    spec = importlib.util.spec_from_file_location(_PROGRAM, argv[0])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[_PROGRAM] = program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.main(argv)()
    sys.meta_path.insert(0, _Launcher())


class _Launcher:
    """Finds ipykernel's launcher under the name of the module that Python was asked to run, once."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        takeover.vanish()
        spec: Any = importlib.util.find_spec(takeover.LAUNCHER)
        loader, usual = spec.loader, spec.loader.get_code

        def get_code(_: str) -> Any:
            del loader.get_code
            return usual(takeover.LAUNCHER)

        # A loader has code for its own name only.
        loader.get_code = get_code
        return spec


if sys.argv[:1] == ["-m"]:  # as long as Python looks for the module; afterwards it is the module's path
    _run(sys.argv[1:])
