"""A browser's connection to a kernel, made while the kernel starts and used as soon as it answers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

_STARTING = "starting"
_UNUSED: Final = 30.0  # seconds after which sockets are closed that no websocket has come to use


class QuickConnection(ZMQChannelsWebsocketConnection):  # type: ignore[misc]
    """Jupyter's own, for a new kernel without what it does one after another while the kernel waits.

    Jupyter Server waits until the kernel has answered once (`prepare`), then makes the sockets that the browser is
    served by, and has the kernel answer again until something arrives at them (`nudge`). Here they are made while the
    kernel starts; when it has answered and something has arrived, there is nothing to wait for any more.
    """

    _early: dict[str, Any] | None = None
    _early_ports: tuple[Any, ...] = ()
    _heard = False

    async def prepare(self) -> None:
        """As ever. Raises HTTPError, TimeoutError."""
        if getattr(self.kernel_manager, "execution_state", None) == _STARTING and self._early is None:
            self._connect_early()
        try:
            await super().prepare()
        except BaseException:
            self._close_early()
            raise
        # A request that is refused after this (it comes from another site's page, say) never gets to `connect`.
        asyncio.get_running_loop().call_later(_UNUSED, self._close_early)

    def _connect_early(self) -> None:
        connection: Any = self
        before, connection.channels = connection.channels, {}
        self._early_ports = tuple(self.kernel_manager.ports)
        try:
            super().create_stream()
        except Exception:  # it is tried again when the kernel is there, and said then
            self._early, connection.channels = connection.channels, before
            self._close_early()
            return
        early, connection.channels = connection.channels, before
        self._early, iopub = early, early["iopub"]

        def hear(_: object) -> None:
            # What comes after the first message is the browser's, which is sent it when it is there.
            iopub.stop_on_recv()
            self._heard = True

        iopub.on_recv(hear)

    def _close_early(self) -> None:
        early, self._early = self._early, None
        for stream in (early or {}).values():
            if not stream.closed():
                stream.close()

    def create_stream(self) -> None:
        """The sockets to the kernel: those that are there, unless it was started again in other places."""
        if self._early is not None and tuple(self.kernel_manager.ports) == self._early_ports:
            self.channels.update(self._early)
            self._early = None
            return
        self._close_early()
        self._heard = False
        super().create_stream()

    def nudge(self) -> asyncio.Future[None]:
        """Done when the kernel has answered and its messages arrive."""
        manager = self.kernel_manager
        if self._heard and self._answered():
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        if getattr(manager, "execution_state", None) != _STARTING:
            return super().nudge()  # type: ignore[no-any-return]
        # Not every 50 ms whether the kernel has said anything to anybody yet: once, and not seeing that it starts.
        manager.execution_state = "unknown"
        try:
            return super().nudge()  # type: ignore[no-any-return]
        finally:
            asyncio.get_running_loop().call_soon(_back, manager)

    def _answered(self) -> bool:
        """Whether the kernel has said who it is, rather than been given up."""
        info = getattr(self.kernel_manager, "_kernel_info_future", None)
        return info is not None and info.done() and not info.cancelled() and bool(info.result())


def _back(manager: object) -> None:
    if getattr(manager, "execution_state", None) == "unknown":
        manager.execution_state = _STARTING  # type: ignore[attr-defined]
