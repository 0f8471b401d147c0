"""Tells people when a kernel was ended because memory ran out, under the cell that ran.

Jupyter itself says only that the kernel "appears to have died" (notebook#2429). The kernel manager looks at what the
machine counted; the connection to each browser says it, as if the kernel had written it to its standard error, so that
it stays in the notebook. Where no cell ran (another notebook took the memory, and this kernel was the largest), or no
browser was there, it is said under the cell that runs next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from jupyter_client.ioloop import AsyncIOLoopKernelRestarter
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from traitlets import Type

from manylab.lab import activity, languages, memory, quick, sentences
from manylab.warm import identity


@dataclass(frozen=True, eq=False)
class Ended:
    """One end of one kernel, which each browser is told once."""

    ending: memory.Ending


class Watch(AsyncIOLoopKernelRestarter):  # type: ignore[misc]
    """Jupyter's restarter, which looks every 3 s whether the kernel is there; reads the counters just before."""

    async def poll(self) -> None:
        alive = True
        try:
            alive = await self.kernel_manager.look_at_memory()
        except Exception:  # a kernel that cannot be explained is started again all the same
            self.log.exception("Could not look why kernel %s ended", self.kernel_manager.kernel_id)
        await super().poll()
        if not alive and self._restarting:
            # A new kernel says so itself; a warm one is there before zmq is connected to it again, and its last state,
            # that of the cell that ended it, would stay.
            self.kernel_manager.execution_state = "starting"
        self.kernel_manager.heard(busy=alive)


class ExplainedKernelManager(ServerKernelManager):  # type: ignore[misc]
    """A kernel whose end for memory is known. running: header of the request of the cell that runs now, {} if none."""

    restarter_class = Type(default_value=Watch, klass="jupyter_client.ioloop.IOLoopKernelRestarter")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.running: dict[str, Any] = {}
        self.unsaid: Ended | None = None  # what is still to be said about the kernel that ended
        self.told = False
        self._meter: memory.Meter | None = None
        self._before = memory.Reading()
        self._kept = False

    def start_restarter(self) -> None:
        if self._meter is None:
            self._meter = memory.meter()
        self._before = self._meter.read()
        if pid := getattr(self.provisioner, "pid", None):
            # When memory runs out, this process goes, and not the server that started it.
            identity.end_early(identity.KERNEL_OOM_SCORE, pid)
        super().start_restarter()

    async def look_at_memory(self) -> bool:
        """Whether the kernel is alive; if not, compare with the look before: had memory run out when it ended?"""
        if self._meter is None or self.provisioner is None:
            return True
        # Read first: a kernel that ends in between is then seen the next time.
        now = self._meter.read()
        status = await self.provisioner.poll()
        before = self._before
        # How a warm kernel ended is heard from its nursery, perhaps only at the next look: keep what is compared with.
        self._kept = status is None and now.kills > before.kills and not self._kept
        if not self._kept:
            self._before = now
        if status is None:
            return True
        why = memory.cause(before, now, status if isinstance(status, int) else None, caged=self._meter.caged)
        if why is not None:
            self.ended(memory.Ending(why, self._meter.limit(), self._meter.used(), time.time()))
        return False

    def heard(self, *, busy: bool) -> None:
        """All browsers that are there have heard what there was to say. busy: a cell may still run."""
        if self.told:
            self.unsaid, self.told = None, False
        if not busy:
            self.running = {}

    def ended(self, ending: memory.Ending) -> None:
        """Log it, keep the sentence for the browsers, and end what the kernel had started: it holds memory, too."""
        _end_group(getattr(self.provisioner, "pgid", None))
        used, limit = (sentences.size(amount) if amount else "unknown" for amount in (ending.used, ending.limit))
        whose = "the server's limit" if ending.cause == "server" else "the memory of the machine"
        text = "kernel %s was ended for memory: %s is used up (this server: used %s, limit %s)"
        self.log.warning(text, self.kernel_id, whose, used, limit)
        self.unsaid = Ended(ending)


class ExplainingConnection(quick.QuickConnection):
    """One browser's connection to one kernel."""

    _said: Ended | None = None

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        super().handle_outgoing_message(stream, outgoing_msg)
        state, request = self._state_of_a_cell(outgoing_msg)
        if state == "busy":
            self.kernel_manager.running = request
            self._say(request)
        elif state == "idle":
            self.kernel_manager.heard(busy=False)

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        if b"execute_request" in (incoming_msg.encode() if isinstance(incoming_msg, str) else incoming_msg):
            activity.used(self.websocket_handler.settings)
        super().handle_incoming_message(incoming_msg)

    def on_kernel_restarted(self) -> None:
        self._last_words()
        super().on_kernel_restarted()

    def on_restart_failed(self) -> None:
        self._last_words()
        super().on_restart_failed()

    def _last_words(self) -> None:
        """Before the Lab hears of the end: it then forgets the cells that ran."""
        request = getattr(self.kernel_manager, "running", {})
        iopub = self.channels.get("iopub")
        if iopub is not None and not iopub.closed():
            iopub.flush()  # what the kernel still wrote comes first
        if request:
            self._say(request)

    def _say(self, request: dict[str, Any]) -> None:
        ended = getattr(self.kernel_manager, "unsaid", None)
        if ended is not None and ended is not self._said:
            self._said = ended
            self.kernel_manager.told = True
            language = languages.of_sentences(self.websocket_handler.request.headers)
            self.write_stderr(sentences.out_of_memory(ended.ending, language), request)

    def _state_of_a_cell(self, message: list[Any]) -> tuple[str, dict[str, Any]]:
        """ "busy" or "idle", and the header of the request, when the message says that about a cell."""
        _, fed = self.session.feed_identities(message)
        # Signature, header, parent, metadata, content. Looked at as bytes first: most messages are something else.
        if len(fed) < 5 or b'"status"' not in bytes(fed[1]) or b'"execute_request"' not in bytes(fed[2]):
            return "", {}
        content, request = self.session.unpack(fed[4]), self.session.unpack(fed[2])
        return str(content.get("execution_state", "")), request


def _end_group(number: int | None) -> None:
    """As a kernel that is shut down does with its children itself."""
    with contextlib.suppress(OSError):
        if number and number != os.getpgrp():
            os.killpg(number, signal.SIGKILL)
