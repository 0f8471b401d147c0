"""What the child of the servers' nursery does: hears its order, becomes the person, and is their server."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from manylab.warm import appearance, identity, memory, renew, wire


def serve(
    conversation: wire.Conversation, peer: wire.Peer, spec: dict[str, Any], prove: Callable[[], None]
) -> NoReturn:
    """Never returns; the exit status of the process is the server's."""
    descriptor = conversation.connection.fileno()
    prove()
    try:
        identity.fresh_process({descriptor})
        conversation.send({"pid": os.getpid()})
        order, given = conversation.receive(seconds=wire.ORDER, descriptors=1)
        # Before it is the person, who can have a copy of what is open in their process.
        identity.stdio(given[0])
        identity.become_owner(order, conversation)
        renew.after_fork()
        # From here on the process is the person's, and what it says on this line is no more than that.
        conversation.send({"became": True})
    except wire.Broken as broken:
        sys.stderr.write(f"nursery: a child got no order: {broken}\n")
        os._exit(1)
    except BaseException as error:
        tell(conversation, error)
        os._exit(1)
    module, _, function = str(order["entry"]).partition(":")
    environment: dict[str, str] = order["env"]
    # For `ps`, and for the warden, which knows a server's processes by what is in their environment.
    appearance.command_line(order["command"], environment)
    sys.argv[:] = ["manylab-server"]
    os.set_inheritable(descriptor, False)
    conversation.connection.detach()
    memory.as_usual()
    getattr(importlib.import_module(module), function)({**environment, wire.READY_VARIABLE: str(descriptor)})
    sys.exit(0)


def tell(conversation: wire.Conversation, error: BaseException) -> None:
    """Why there will be no server. Not the text of a KeyError or ValueError: it may repeat a part of the order."""
    if isinstance(error, identity.Failed):
        answer = {"reason": error.reason, "message": error.message}
    else:
        text = str(error) if isinstance(error, OSError) else type(error).__name__
        answer = {"reason": "start-failed", "message": f"the server could not be started: {text}"}
    with contextlib.suppress(OSError):
        conversation.send(answer, seconds=1.0)
