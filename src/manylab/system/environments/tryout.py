"""Tries an environment from inside: imports, then a kernel. Run by the environment's own interpreter, by its text.

`python -I -c TEXT {"modules": {...}, "kernel": true, "programs": [[[...], "ok"]], "variables": {...}}`.
Standard library and, for the kernel, jupyter_client. Says what it does on standard error, and on standard output at the
end, in JSON, what failed: {"failed": "", "tail": ""} when nothing did.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

# A cold disk and a large library: importing takes its time, seconds.
_IMPORTING = 300.0
_KERNEL = 120.0
_TAIL = 12

# Each module is named before it is imported, so that one which ends the whole process is known.
_IMPORTER = """
import importlib, os, sys
line = os.fdopen(int(sys.argv[1]), "w")
for name in sys.argv[2:]:
    print(name, file=line, flush=True)
    importlib.import_module(name)
print("", file=line, flush=True)
os._exit(0)
"""


class Failure(NamedTuple):
    """What failed, and the last lines of what it said."""

    what: str
    tail: str


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _last(text: str) -> str:
    return "\n".join(line.rstrip()[:300] for line in text.splitlines()[-_TAIL:] if line.strip())


def _import_all(modules: Sequence[str]) -> tuple[str, str]:
    """Import in one process, in this order: (the module that failed or "", what was said)."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        argv = [sys.executable, "-I", "-c", _IMPORTER, str(writing), *modules]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[writing])
        os.close(writing)
        try:
            status = process.wait(_IMPORTING)
            said = ""
        except subprocess.TimeoutExpired:
            process.kill()
            status, said = process.wait(), f"\nit did not finish within {_IMPORTING:g} s"
        with os.fdopen(reading, errors="replace") as line:
            os.set_blocking(reading, False)
            begun = (line.read() or "").split("\n")[:-1]
        output.seek(max(0, output.seek(0, os.SEEK_END) - 20000))
        said = output.read() + said
    if begun and begun[-1] == "":
        return "", ""
    ended = f"\nit was ended by signal {-status}" if status < 0 else ""
    return (begun[-1] if begun else modules[0]), said + ended


def try_imports(modules: Mapping[str, str]) -> Failure | None:
    """Import every module (name -> package); one that fails in company is tried by itself, as people would."""
    left = list(modules)
    while left:
        _say(f"testing: importing {', '.join(dict.fromkeys(modules[name] for name in left))[:200]}")
        failed, said = _import_all(left)
        if not failed:
            return None
        alone, said_alone = _import_all([failed])
        if alone:
            return Failure(f"{modules[failed]} cannot be imported (import {failed})", _last(said_alone or said))
        left = left[left.index(failed) + 1 :]
    return None


def try_programs(programs: Iterable[tuple[Sequence[str], str]]) -> Failure | None:
    """Run programs that must end well, having said what they say then: an extension may end one with status 0."""
    for argv, word in programs:
        _say(f"testing: {os.path.basename(argv[-2] if len(argv) > 1 else argv[0])}")  # noqa: PTH119
        try:
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=_KERNEL, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Failure(f"{' '.join(argv)} does not run", str(error))
        if done.returncode:
            return Failure(f"{' '.join(argv)} ended with status {done.returncode}", _last(done.stdout + done.stderr))
        if word not in done.stdout:
            return Failure(f"{' '.join(argv)} ended before it was done", _last(done.stdout + done.stderr))
    return None


def try_kernel(argv: Sequence[str]) -> Failure | None:
    """Start a kernel as the Lab would, over unix sockets, and run a cell in it."""
    _say("testing: a kernel")
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            said = _cell(argv, output)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        output.seek(0)
        kernel_said = output.read()[-20000:]
    if said == "42\n":
        return None
    return Failure("a kernel does not run a cell", _last(f"{kernel_said}\n{said}"))


def _cell(argv: Sequence[str], output: Any) -> str:
    # Not at the top: the imports are tried without it.
    client_module = importlib.import_module("jupyter_client")
    spec = importlib.import_module("jupyter_client.kernelspec").KernelSpec(argv=list(argv), language="python")
    with tempfile.TemporaryDirectory() as folder:
        manager = client_module.KernelManager(
            transport="ipc",
            ip=f"{folder}/k",
            connection_file=f"{folder}/k.json",
        )
        manager._kernel_spec = spec
        manager.start_kernel(stdout=output, stderr=output)
        client = manager.blocking_client()
        try:
            client.start_channels()
            _until_ready(manager, client)
            texts: list[str] = []
            client.execute_interactive(
                "print(6*7)",
                store_history=False,
                timeout=_KERNEL,
                output_hook=lambda message: texts.append(_text(message)),
            )
            return "".join(texts)
        finally:
            client.stop_channels()
            with contextlib.suppress(Exception):
                manager.shutdown_kernel(now=True)


def _until_ready(manager: Any, client: Any) -> None:
    deadline = time.monotonic() + _KERNEL
    while True:
        try:
            client.wait_for_ready(timeout=1)
            return
        except RuntimeError:
            if not manager.is_alive():
                raise RuntimeError("the kernel died before it answered") from None
            if time.monotonic() > deadline:
                raise


def _text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if message["msg_type"] == "stream":
        return str(content["text"]) if content["name"] == "stdout" else ""
    return "\n".join(content["traceback"]) if message["msg_type"] == "error" else ""


def main() -> None:
    """See the module."""
    said = json.loads(sys.argv[1])
    os.environ.update(said.get("variables", {}))
    failure = try_imports(said["modules"]) or try_programs(said["programs"])
    if failure is None and said["kernel"]:
        failure = try_kernel([sys.executable, *said["kernel"]])
    found = failure or Failure("", "")
    print(json.dumps({"failed": found.what, "tail": found.tail}))


if __name__ == "__main__":
    main()
