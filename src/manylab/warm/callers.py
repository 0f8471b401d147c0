"""What the child of an environment's nursery does: has the warden say for whom it is, becomes that person, and is a
kernel beside the server that asked.

The caller is known by what the kernel saw when it connected; nothing that it sends is read before the power is gone.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any, Final, NoReturn

from manylab.warm import identity, kernels, renew, wire

# Seconds. On a machine where this takes long a cold start would take much longer.
_PATIENCE: Final = 15.0


def serve(conversation: wire.Conversation, peer: wire.Peer, spec: dict[str, Any], prove: Callable[[], None]) -> None:
    """Returns when there is nothing left to do but to run ipykernel's launcher, which `main` does."""
    descriptor = conversation.connection.fileno()
    try:
        place = _place(spec, peer)
        prove()
        identity.fresh_process({descriptor})
        # The nursery's own output is not the person's, who can have a copy of what is open in their process.
        identity.silence()
        os.umask(0o022)
        identity.become(place["uid"], place["gid"], place["groups"], namespace_of=peer.pid)
        identity.end_early(identity.KERNEL_OOM_SCORE)
        renew.after_fork()
        # From here on the process is the person's own.
        request, given = conversation.receive(seconds=_PATIENCE, descriptors=3)
        if (reason := kernels.why_cold(request)) is not None:
            conversation.send({"cold": reason})
            os._exit(1)
    except wire.Broken:
        os._exit(1)
    except identity.Failed as failed:
        _last_word(conversation, {"reason": failed.reason, "message": failed.message})
    except BaseException as error:
        _last_word(
            conversation, {"reason": "error", "message": f"a warm kernel failed: {type(error).__name__}: {error}"}
        )
    kernels.become(request, given, conversation.connection)


def _place(spec: dict[str, Any], peer: wire.Peer) -> dict[str, Any]:
    """Who the caller is, by the warden, which has put this process beside the caller's server. Raises Failed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as warden:
        warden.settimeout(_PATIENCE)
        try:
            warden.connect(spec["warden"])
            asked = wire.Conversation(warden)
            asked.send({"do": "place", "caller": peer.pid, "uid": peer.uid})
            answer, _ = asked.receive(seconds=_PATIENCE)
        except (OSError, wire.Broken):
            raise identity.Failed("error", "the warden does not answer") from None
    if answer.get("ok") is not True:
        raise identity.Failed(str(answer.get("reason", "error")), str(answer.get("message", "")))
    if answer["uid"] != peer.uid:
        raise identity.Failed("error", "the warden and the kernel do not agree on who this is")
    return answer


def _last_word(conversation: wire.Conversation, answer: dict[str, Any]) -> NoReturn:
    with contextlib.suppress(OSError):
        conversation.send(answer, seconds=1.0)
    os._exit(1)
