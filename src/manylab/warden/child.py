"""What stands between the warden and a person's server that starts cold: `python -I -m manylab.warden.child`.

Started as root. Standard input: a socket to the warden, on which the order comes, one JSON object (it holds the
person's token, hence never in argv or the environment), and the answers go. Standard output and error: the server's
log. Becomes the person, checks that it did, and turns into the server, which says on the same socket when it is ready.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any, NoReturn

from manylab.warm import identity, wire
from manylab.warm.identity import Failed
from manylab.warm.servers import tell


def main() -> NoReturn:
    """Carry out the order, or say why not."""
    conversation = wire.Conversation(socket.socket(fileno=os.dup(0)))
    with contextlib.suppress(wire.Broken):
        try:
            order, _ = conversation.receive(seconds=wire.ORDER)
            run(order, conversation)
        except (Failed, OSError, ValueError, KeyError) as error:
            tell(conversation, error)
    os._exit(1)


def run(order: dict[str, Any], conversation: wire.Conversation) -> NoReturn:
    """Become the server."""
    warden = conversation.connection.fileno()
    identity.fresh_process({warden})
    identity.become_owner(order, conversation)
    identity.stdio(1)
    command: list[str] = order["command"]
    environment: dict[str, str] = {**order["env"], wire.READY_VARIABLE: str(warden)}
    conversation.send({"became": True})
    conversation.connection.settimeout(None)
    os.set_inheritable(warden, True)
    try:
        os.execve(command[0], command, environment)  # noqa: S606
    except OSError as error:
        raise Failed("start-failed", f"{command[0]} cannot be run: {error.strerror}") from None


if __name__ == "__main__":
    main()
