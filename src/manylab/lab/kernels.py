"""Which kernels people are offered, and how the server talks to them."""

from __future__ import annotations

import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path  # type: ignore[import-not-found,unused-ignore]
from traitlets import default

from manylab.lab.endings import ExplainedKernelManager


class SiteKernelSpecs(KernelSpecManager):  # type: ignore[misc]
    """The site's environments first, then the person's own, then the machine's; never the server environment's own.

    `ensure_native_kernel = False` is not enough: ipykernel comes with JupyterLab and leaves a "python3" in the server
    environment's share/jupyter/kernels. Without ~/.ipython/kernels too, which is from before 2015 and needs an IPython
    folder that can be read.
    """

    @default("kernel_dirs")  # type: ignore[untyped-decorator]
    def _site_kernel_dirs(self) -> list[str]:
        own = Path(sys.prefix)
        return [path for path in jupyter_path("kernels") if own not in Path(path).parents]


class SocketKernelManager(ExplainedKernelManager):
    """A kernel on unix sockets with names that are short enough.

    The path of a unix socket has at most 107 characters. Jupyter's own name (kernel-<36 characters>-ipc-1) leaves 27
    for the names of the person and the server together, and a kernel then fails to start with "path too long".
    """

    @default("ip")  # type: ignore[untyped-decorator]
    def _short_ip(self) -> str:
        if self.transport != "ipc" or not self.connection_file:
            return str(super()._ip_default())
        return short_ipc(Path(self.connection_file))


def short_ipc(connection_file: Path) -> str:
    """Beginning of the paths of a kernel's five sockets: "k" and the first 8 digits of its id, beside its file."""
    return str(connection_file.with_name("k" + connection_file.stem.removeprefix("kernel-")[:8]))
