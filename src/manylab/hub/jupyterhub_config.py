"""JupyterHub's configuration: all of it is data in hub.json, which `manylab apply` renders from manylab.toml."""
# ruff: noqa: F821  (JupyterHub defines get_config)

import os
from pathlib import Path

from manylab.hub import settings

settings.configure(get_config(), settings.read(Path(os.environ["MANYLAB_HUB_JSON"])))  # type: ignore[name-defined]
