"""How this server starts kernels: those of the site's environments warm where it can be done, all others as ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Final

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from tornado.web import HTTPError

from manylab import warm
from manylab.lab import forked, origins, own
from manylab.warm import process

NAME: Final = "manylab"
_VALUE: Final = f"{__name__}:SiteProvisioner"
# What manylab's kernel specs run (`model.environments`), and what runs the same with its sockets in a private folder.
_LAUNCHER: Final = ["-m", "ipykernel_launcher"]
_COLD: Final = str(Path(warm.__file__).with_name("cold.py"))
# What a kernel can be given that a nursery's child can have as well.
_KNOWN: Final = frozenset({"env", "cwd", "stdin", "stdout", "stderr", "independent", "kernel_id", "extra_arguments"})


def register() -> None:
    """Make it known to jupyter_client without an entry point of a package; `config` makes it the default."""
    KernelProvisionerFactory.provisioners[NAME] = EntryPoint(NAME, _VALUE, KernelProvisionerFactory.GROUP_NAME)


def environment_of(resource_dir: str, jupyter_path: str) -> str | None:
    """Which of the site's environments a kernel spec belongs to; None for all others. Pure.

    jupyter_path: where the site's own specs are (JUPYTER_PATH of the server, set by root).
    """
    folder = Path(resource_dir)
    if folder.parent not in [Path(path, "kernels") for path in jupyter_path.split(os.pathsep) if path]:
        return None
    if folder.name == "python3":
        return "default"
    name = folder.name.removeprefix("manylab-")
    return name if name != folder.name else None


class SiteProvisioner(LocalProvisioner):  # type: ignore[misc]
    """jupyter_client's own, with another way to start. `process` is a ForkedKernel when the kernel is warm."""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """As ever, but `python`, other programs without a folder and {prefix} are the spec's and not the server's.

        Raises HTTPError with a sentence for the Lab when the program is not there.
        """
        ready: dict[str, Any] = await super().pre_launch(**kwargs)
        spec, environ = self.kernel_spec, ready["env"]
        prefix = origins.prefix_of(str(spec.resource_dir))
        for place, word in enumerate(spec.argv):
            if "{prefix}" in word and prefix is not None:
                ready["cmd"][place] = ready["cmd"][place].replace(sys.prefix, str(prefix))
        program = ready["cmd"][0] if "{" in spec.argv[0] else spec.argv[0]
        found, path = await origins.find(program, prefix, os.environ)
        if found is None:
            raise HTTPError(500, f"The program of the kernel {spec.display_name!r} is not there: {program}")
        ready["cmd"][0] = found
        if path is not None and "PATH" not in spec.env:
            environ["PATH"] = path
        return ready

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start it. Raises what LocalProvisioner raises, when neither way works."""
        name = environment_of(str(self.kernel_spec.resource_dir), own.environ.get("JUPYTER_PATH", ""))
        if name is None or _LAUNCHER[-1] not in cmd:
            return await super().launch_kernel(cmd, **kwargs)
        try:
            self.process = await self._warm(name, cmd, kwargs)
        except forked.Cold as cold:
            self.log.info("kernel %s of %s starts cold: %s", self.kernel_id, name, cold)
            return await super().launch_kernel(without_ports(cmd), **kwargs)
        self.log.debug("kernel %s of %s is warm, process %s", self.kernel_id, name, self.process.pid)
        self.pid = self.pgid = self.process.pid
        self.cwd = kwargs.get("cwd") or Path.cwd()
        return self.connection_info

    async def _warm(self, name: str, cmd: list[str], given: dict[str, Any]) -> forked.ForkedKernel:
        folder = own.environ.get("MANYLAB_KERNELS")
        if not folder:
            raise forked.Cold("this server knows of no nurseries")
        streams = [given.get(stream) for stream in ("stdin", "stdout", "stderr")]
        if given.keys() - _KNOWN or given.get("independent") or not all(_usual(stream) for stream in streams):
            raise forked.Cold("it is started in an unusual way")
        environ = given.get("env")
        environ = dict(os.environ) if environ is None else environ
        environ["JPY_PARENT_PID"] = str(os.getpid())
        request = {
            # Here, in the thread that would start a process: a kernel inherits what this thread has.
            "argv": [os.path.expanduser(word) for word in cmd],  # noqa: PTH111
            "env": environ,
            "cwd": str(given.get("cwd") or Path.cwd()),
            "umask": process.umask(),
            "traits": process.traits(),
        }
        with contextlib.ExitStack() as stack:
            # A pipe that nobody writes to, as jupyter_client gives its kernels.
            nothing, end = os.pipe()
            os.close(end)
            stack.callback(os.close, nothing)
            descriptors = [_number(stream, usual) for stream, usual in zip(streams, (nothing, 1, 2), strict=True)]
            path = Path(folder, f"{name}.sock")
            return await asyncio.to_thread(forked.ask, path, request, descriptors)

    async def send_signal(self, signum: int) -> None:
        """To the kernel and what it started."""
        if isinstance(self.process, forked.ForkedKernel):
            self.process.signal_group(signum)
        else:
            await super().send_signal(signum)

    async def cleanup(self, restart: bool = False) -> None:
        """Also the socket that jupyter_client does not know of."""
        info = self.connection_info
        if not restart and info.get("transport") == "ipc":
            with contextlib.suppress(OSError):
                Path(f"{info['ip']}-p").unlink()
        await super().cleanup(restart=restart)


def without_ports(cmd: list[str]) -> list[str]:
    """The command with manylab's launcher in the place of ipykernel's. Pure."""
    place = cmd.index(_LAUNCHER[-1]) - 1
    return [*cmd[:place], _COLD, *cmd[place + 2 :]]


def _usual(stream: object) -> bool:
    """Whether a stream is left to its default, or is a descriptor, or something with one; not subprocess.PIPE."""
    return stream is None or (isinstance(stream, int) and stream >= 0) or hasattr(stream, "fileno")


def _number(stream: Any, usual: int) -> int:
    if stream is None:
        return usual
    return stream if isinstance(stream, int) else int(stream.fileno())
