"""How the hub and the command line ask the warden. Standard library and base only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from manylab.base.errors import WardenUnavailable

_RETRY: Final = 0.05  # seconds; a unix socket says EAGAIN when too many others wait to connect
_MAX_ANSWER: Final = 16 * 1024 * 1024  # bytes
_HINT: Final = "see `manylab status` and `manylab logs`"


async def ask(socket_path: Path | str, question: Mapping[str, Any], timeout: float = 60.0) -> dict[str, Any]:
    """The answer, yes or no; raises WardenUnavailable when there is none within `timeout` seconds."""
    try:
        return await asyncio.wait_for(_ask(str(socket_path), _encode(question)), timeout)
    except (OSError, asyncio.TimeoutError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
        raise _unavailable(socket_path, error) from None


async def _ask(path: str, line: bytes) -> dict[str, Any]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(path)
                break
            except BlockingIOError:
                await asyncio.sleep(_RETRY)
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_MAX_ANSWER)
    except BaseException:
        connection.close()
        raise
    try:
        # A warden that refuses without reading closes early; its answer is there all the same.
        with contextlib.suppress(ConnectionError):
            writer.write(line)
            await writer.drain()
        return _decode(await reader.readuntil(b"\n"))
    finally:
        writer.transport.abort()


def ask_sync(socket_path: Path | str, question: Mapping[str, Any], timeout: float = 60.0) -> dict[str, Any]:
    """As `ask`, for programs without an event loop."""
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            while True:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    connection.connect(str(socket_path))
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError("timed out") from None
                    time.sleep(_RETRY)
            with contextlib.suppress(ConnectionError):
                connection.sendall(_encode(question))
            answer = bytearray()
            while not answer.endswith(b"\n") and len(answer) < _MAX_ANSWER:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                if not (data := connection.recv(65536)):
                    break
                answer += data
            return _decode(bytes(answer))
    except (OSError, ValueError) as error:
        raise _unavailable(socket_path, error) from None


def _encode(question: Mapping[str, Any]) -> bytes:
    return json.dumps(question).encode("ascii") + b"\n"


def _decode(line: bytes) -> dict[str, Any]:
    answer = json.loads(line)
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), bool):
        raise ValueError("not an answer")
    return answer


def _unavailable(path: Path | str, error: Exception) -> WardenUnavailable:
    # The type for errors that may repeat what was asked; the system's own words otherwise.
    why = error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
    return WardenUnavailable(f"the warden does not answer on {path}: {why}", hint=_HINT)
