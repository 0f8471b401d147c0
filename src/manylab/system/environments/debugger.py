"""The Lab's debugger is for the person whose kernel it is: debugpy takes connections of its own account only.

debugpy listens on TCP and asks nobody for a secret. Whoever finds the port speaks the protocol of debuggers, in which
`evaluate` runs code. All its listening sockets come out of one function, which gets another around it here; and so does
the one by which its adapter hangs up on the kernel as soon as it has said where it listens.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from manylab.system.environments import record
from manylab.system.environments.distributions import installed
from manylab.system.files import write_file

GUARD = "_manylab_same_account"
_SOCKETS = "common/sockets.py"
_ADDED = f"""

# Added by manylab: nobody but the account that debugs may connect.
from debugpy.common import {GUARD}, log

create_server = {GUARD}.guarded(create_server, log.info)
close_socket = {GUARD}.heard(close_socket)
"""
# Where debugpy 1.6 to 1.8 listen, accept and hang up. pydevd's own server, in _vendored, is for who asks for it.
_LISTENS = re.compile(r"\b(\w+)\.(accept|create_server|start_server|close_socket)\(")
_KNOWN = {
    (_SOCKETS, "listener.accept"),
    ("server/api.py", "endpoints_listener.accept"),
    ("server/api.py", "sockets.create_server"),
    ("server/api.py", "sockets.close_socket"),
    ("adapter/__main__.py", "sockets.close_socket"),
}
# The functions that are replaced, and that what listens looks its one up when it is called.
_NEEDED = ("\ndef create_server(", "\ndef close_socket(", "= create_server(")


def close(environment: Path) -> list[str]:
    """Have the debugger of an environment, if it has one, refuse other accounts. What could not be done, one line each.

    Before anything is compiled and shared: the same debugpy becomes the same file in every generation. Files are
    exchanged and never written into, they may be in uv's cache too. Raises OSError.
    """
    package = record.site_packages(environment) / "debugpy"
    if not package.is_dir():
        return []
    folder, file = package / "common", package / _SOCKETS
    # Packages of conda's may have links to anywhere.
    plain = not any(path.is_symlink() for path in (package, folder)) and file.exists()
    text = file.read_text(encoding="utf-8", errors="replace") if plain and stat.S_ISREG(file.lstat().st_mode) else ""
    if not all(part in text for part in _NEEDED):
        return [_warning(environment)]
    write_file(folder / f"{GUARD}.py", Path(__file__).with_name("same_account.py").read_text(encoding="utf-8"), 0o644)
    write_file(file, text.removesuffix(_ADDED) + _ADDED, 0o644)
    # conda's packages bring some, which may be told never to look at its source again.
    for path in (folder / "__pycache__").glob("sockets.*.pyc"):
        path.unlink()
    return [] if listening(package) == _KNOWN else [_warning(environment)]


def listening(package: Path) -> set[tuple[str, str]]:
    """Every place of debugpy's own code that listens, accepts or hangs up: (file, what is called)."""
    found = set()
    for path in package.rglob("*.py"):
        inside = path.relative_to(package)
        if inside.parts[0] != "_vendored" and stat.S_ISREG(path.lstat().st_mode):
            text = path.read_text(encoding="utf-8", errors="replace")
            found |= {(inside.as_posix(), f"{one[1]}.{one[2]}") for one in _LISTENS.finditer(text)}
    return found


def _warning(environment: Path) -> str:
    one = installed(environment).get("debugpy")
    return (
        f"debugpy {one.version if one else ''}".rstrip() + " listens in a way that this version of manylab does not "
        "know: while somebody debugs, others with an account on this machine may run code as them"
    )
