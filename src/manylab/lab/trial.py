"""Whether a server of this environment starts, answers and has all of its extensions:
`<server env>/bin/python -I -m manylab.lab.trial`. What is wrong is said on standard error, and the status is 1; when
nothing is, "the server answers" on standard output.

Run before anybody uses the environment, by an account without power, with nobody's files and a stand-in for the hub.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from jupyter_core.utils import ensure_event_loop
from jupyterlab.commands import AppOptions, _AppHandler  # type: ignore[import-not-found,unused-ignore]

from manylab.lab import audience, server

# Seconds for everything that a browser asks for first; a cold disk and two busy processors.
_ANSWERS = 120.0


def labextensions(prefix: Path) -> list[str]:
    """What is wrong with the extensions of JupyterLab in an environment, a sentence each."""
    server.ask_no_yarn()
    # What `jupyter labextension list` asks, which only prints the answer.
    handler = _AppHandler(AppOptions(labextensions_path=[str(prefix / "share/jupyter/labextensions")]))
    wrong: dict[str, Any] = handler._get_extension_compat()
    found = []
    for name, extension in sorted(handler.info["federated_extensions"].items()):
        for package, ours, theirs in wrong.get(name, ()):
            found.append(f"the extension {name} needs {package} {theirs}, and this JupyterLab has {ours}")
        load = extension.get("jupyterlab", {}).get("_build", {}).get("load", "")
        if not load or not Path(extension["ext_path"], load).is_file():
            found.append(f"the extension {name} has nothing that could be loaded ({load or 'no entry'})")
    return found


def serve(folder: Path) -> list[str]:
    """Start a server as a person's is started, open JupyterLab as a browser does, and end; what went wrong."""
    loop = ensure_event_loop()
    hub = loop.run_until_complete(audience.open_hub(folder))
    try:
        # Jupyter itself logs an extension that does not load, and goes on without it.
        app = server.build(audience.environ(folder), ServerApp={"reraise_server_extension_failures": True})
        app.allow_root = True  # in tests of this program; a person's server never is root's
        app.start_app()
        loop.run_until_complete(asyncio.wait_for(audience.visit(app), _ANSWERS))
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return [f"a server does not start with these extensions: {type(error).__name__}: {error}"]
    finally:
        hub.stop()
    return []


def main() -> None:
    """See the module."""
    folder = Path(tempfile.mkdtemp(prefix="trial-"))
    try:
        wrong = labextensions(Path(sys.prefix)) + serve(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in wrong:
        print(line, file=sys.stderr)
    sys.stderr.flush()
    if not wrong:
        print("the server answers", flush=True)
    # Threads of extensions may still be about.
    os._exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
