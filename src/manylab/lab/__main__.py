"""`<server env>/bin/python -I -m manylab.lab`: one person's server, started by the warden as that person."""

from __future__ import annotations

import os

from manylab.lab.server import run

if __name__ == "__main__":
    run(dict(os.environ))
