"""A browser's connection to a kernel, made as soon as the kernel answers."""

from __future__ import annotations

import asyncio

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

_STARTING = "starting"


class QuickConnection(ZMQChannelsWebsocketConnection):  # type: ignore[misc]
    """Jupyter's own, without its look every 50 ms whether a new kernel has said anything to anybody yet."""

    def nudge(self) -> asyncio.Future[None]:
        """Done when the kernel has answered and its messages arrive, which says as much."""
        manager = self.kernel_manager
        if getattr(manager, "execution_state", None) != _STARTING:
            return super().nudge()  # type: ignore[no-any-return]
        manager.execution_state = "unknown"
        try:
            return super().nudge()  # type: ignore[no-any-return]
        finally:
            # The first look is what the loop does next; there is no other when it sees something else.
            asyncio.get_running_loop().call_soon(_back, manager)


def _back(manager: object) -> None:
    if getattr(manager, "execution_state", None) == "unknown":
        manager.execution_state = _STARTING  # type: ignore[attr-defined]
