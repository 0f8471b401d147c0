"""Which kernels people are offered, and how the server talks to them."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_core.paths import jupyter_path  # type: ignore[import-not-found,unused-ignore]
from traitlets import default

from manylab.lab import origins, own
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

    def find_kernel_specs(self) -> dict[str, str]:
        """As ever, without environments of the site that are for groups which this person is not in."""
        found: dict[str, str] = super().find_kernel_specs()
        return {name: folder for name, folder in found.items() if self._offered(folder)}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """As ever; raises NoSuchKernel for what is not offered, too."""
        spec = super().get_kernel_spec(kernel_name)
        if not self._offered(spec.resource_dir):
            raise NoSuchKernel(kernel_name)
        return spec

    def _offered(self, folder: str) -> bool:
        site = [Path(path, "kernels") for path in own.environ.get("JUPYTER_PATH", "").split(os.pathsep) if path]
        if Path(folder).parent not in site:
            return True
        wanted = groups_of(Path(folder, "kernel.json"))
        return not wanted or is_member(wanted)


def groups_of(spec: Path) -> list[str]:
    """Who one of the site's kernels is for; nobody in particular: []."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        metadata: Any = json.loads(spec.read_text(encoding="utf-8"))["metadata"]["manylab"]
        return [str(name) for name in metadata["groups"]]
    return []


def is_member(groups: Collection[str]) -> bool:
    """Whether this process is in one of the groups; names that nobody knows do not count."""
    mine = {os.getgid(), *os.getgroups()}
    for name in groups:
        with contextlib.suppress(KeyError):
            if grp.getgrnam(name).gr_gid in mine:
                return True
    return False


class SocketKernelManager(ExplainedKernelManager):
    """A kernel on unix sockets where it takes those, with names that are short enough.

    The path of a unix socket has at most 107 characters. Jupyter's own name (kernel-<36 characters>-ipc-1) leaves 27
    for the names of the person and the server together, and a kernel then fails to start with "path too long".
    """

    @default("transport")  # type: ignore[untyped-decorator]
    def _transport_of_the_spec(self) -> str:
        return origins.transport(self.kernel_spec, own.environ)

    @default("ip")  # type: ignore[untyped-decorator]
    def _short_ip(self) -> str:
        if self.transport != "ipc" or not self.connection_file:
            return str(super()._ip_default())
        return short_ipc(Path(self.connection_file))


def short_ipc(connection_file: Path) -> str:
    """Beginning of the paths of a kernel's five sockets: "k" and the first 8 digits of its id, beside its file."""
    return str(connection_file.with_name("k" + connection_file.stem.removeprefix("kernel-")[:8]))
