"""Which kernels people are offered: the site's environments first, then their own, then the machine's."""

from __future__ import annotations

import sys
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path
from traitlets import default


class SiteKernelSpecs(KernelSpecManager):  # type: ignore[misc]
    """Without the server environment's own kernel.

    `ensure_native_kernel = False` is not enough: ipykernel comes with JupyterLab and leaves a "python3" in the server
    environment's share/jupyter/kernels. Without ~/.ipython/kernels too, which is from before 2015 and needs an IPython
    folder that can be read.
    """

    @default("kernel_dirs")
    def _site_kernel_dirs(self) -> list[str]:
        own = Path(sys.prefix)
        return [path for path in jupyter_path("kernels") if own not in Path(path).parents]
