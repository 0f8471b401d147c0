"""`python -I -m manylab.warden /path/warden.json`: run the warden in the foreground."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

from manylab.base.errors import ManylabError
from manylab.warden.server import serve
from manylab.warm import capabilities, process

# Jupyter Server's min_open_files_limit. Not left to it, which would raise what pam_limits has set.
_FILES: Final = 4096


def main(arguments: list[str]) -> int:
    """Exit status: 0 told to end, 1 could not start, 2 wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -I -m manylab.warden warden.json\n")
        return 2
    logging.basicConfig(stream=sys.stderr, format="warden: %(message)s", level=logging.INFO)
    logging.raiseExceptions = False  # a log whose reader went away is no reason for a traceback
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # Passwords pass through: no core file, and no debugger of the same account. Not inherited by what it starts.
    capabilities.dumpable(False)
    # A descriptor for each server and each connection; servers get the number that was usual before, or Jupyter's.
    usual, _ = process.more_files()
    try:
        asyncio.run(serve(Path(arguments[0]), max(usual, _FILES)))
    except ManylabError as error:
        sys.stderr.write(f"warden: {error.message}\n" + (f"warden: {error.hint}\n" if error.hint else ""))
        return 1
    except OSError as error:
        sys.stderr.write(f"warden: cannot start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
