"""The processes that servers and kernels are forked from, as somebody outside of the warden sees them."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path


def interpreter(path: Path) -> str:
    """The interpreter of whoever listens on a nursery's socket, "" when nobody does.

    Who that is comes from the kernel (SO_PEERCRED of unix(7)). A connection without a request does a nursery no harm.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        except OSError:
            return ""
    pid = struct.unpack("iII", raw)[0]
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    return ""
