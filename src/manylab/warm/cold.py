"""`<env>/bin/python .../cold.py ARGUMENTS`: what `python -m ipykernel_launcher ARGUMENTS` does, without a TCP port.

Run by its path, under an environment that has nothing of manylab, and afterwards nothing shows that it was.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    _PACKAGES = str(Path(__file__).resolve().parents[2])
    if not sys.flags.isolated:
        del sys.path[0]
    sys.path.append(_PACKAGES)

from manylab.warm import appearance, ipc, takeover

if __name__ == "__main__":
    sys.path.remove(_PACKAGES)
    _PLACE = sys.orig_argv.index(__file__)
    _ARGV = [*sys.orig_argv[:_PLACE], "-m", takeover.LAUNCHER, *sys.orig_argv[_PLACE + 1 :]]
    appearance.command_line(_ARGV, dict(os.environ))
    ipc.patch()
    takeover.launch(_ARGV, list(sys.path))
