"""The Lab's debugger without a Lab: what it says to a kernel of a person's server.

with debugger(alice) as one:
    one.switch_on()
    assert one.stops("value = 6\nprint(value)", line=2) == "value"
    one.switch_off()
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from websockets.sync.client import ClientConnection

from support.client import Client


class Debugger:
    """Of one kernel."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.said = 0
        self.unread: list[dict[str, Any]] = []

    def switch_on(self) -> None:
        """As the button does."""
        self.ask("initialize", clientID="tests", adapterID="")
        self.ask("attach")

    def switch_off(self) -> None:
        """As the button does: debugpy goes on listening."""
        self.ask("disconnect", restart=False, terminateDebuggee=False)

    def stops(self, code: str, line: int) -> str:
        """Run a cell that stops before that line, and go on; the newest variable that was there."""
        source = {"path": self.ask("dumpCell", code=code)["body"]["sourcePath"]}
        self.ask("setBreakpoints", breakpoints=[{"line": line}], source=source, sourceModified=False)
        self.ask("configurationDone")
        self._send("shell", "execute_request", {"code": code, "silent": False, "allow_stdin": False})
        thread = self._until("debug_event", lambda content: content["event"] == "stopped")["body"]["threadId"]
        frames = self.ask("stackTrace", threadId=thread)["body"]["stackFrames"]
        assert frames[0]["line"] == line
        variables = self.ask("inspectVariables")["body"]["variables"]
        self.ask("continue", threadId=thread)
        assert self._until("execute_reply", lambda content: True)["status"] == "ok"
        return str(variables[-1]["name"])

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """A request of the debug adapter protocol; its answer, which must say that it worked."""
        self.said += 1
        said = self.said
        self._send(
            "control", "debug_request", {"type": "request", "seq": said, "command": command, "arguments": arguments}
        )
        answer = self._until("debug_reply", lambda content: content.get("request_seq") == said)
        assert answer["success"], answer
        return answer

    def _send(self, channel: str, kind: str, content: dict[str, Any]) -> None:
        header = {"msg_id": f"{kind}-{self.said}", "msg_type": kind, "username": "", "session": "s", "version": "5.3"}
        message = {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.socket.send(json.dumps(message))

    def _until(self, kind: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message like that; the order of different channels is a matter of chance."""
        while True:
            for message in self.unread:
                if message["msg_type"] == kind and fits(message["content"]):
                    self.unread.remove(message)
                    return dict(message["content"])
            self.unread.append(json.loads(self.socket.recv(timeout=30)))


@contextlib.contextmanager
def debugger(client: Client) -> Iterator[Debugger]:
    """That of the client's kernel."""
    with client.websocket(f"api/kernels/{client.kernel}/channels") as socket:
        yield Debugger(socket)
