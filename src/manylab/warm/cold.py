"""`<env>/bin/python .../cold.py ARGUMENTS`: what `python -m ipykernel_launcher ARGUMENTS` does, without a TCP port.

Run by its path, under an environment that has nothing of manylab, and afterwards nothing shows that it was.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def _bring_manylab() -> None:
    """Make manylab importable, and nothing else that is installed beside it.

    Not by sys.path: at its end a `manylab.py` in the person's home comes first, and at its beginning the packages of
    the server environment would.
    """
    folder = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[folder.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    if not sys.flags.isolated:
        del sys.path[0]
    _bring_manylab()

from manylab.warm import appearance, ipc, takeover  # noqa: E402 - it is found only now

if __name__ == "__main__":
    _PLACE = sys.orig_argv.index(__file__)
    _ARGV = [*sys.orig_argv[:_PLACE], "-m", takeover.LAUNCHER, *sys.orig_argv[_PLACE + 1 :]]
    appearance.command_line(_ARGV, dict(os.environ))
    ipc.patch()
    takeover.launch(_ARGV, list(sys.path))
