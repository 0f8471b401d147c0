"""Programs that end with the bench: when it is killed, the kernel tells them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from manylab.base.errors import Unhealthy
from manylab.cli.bench.place import Place, last_lines
from manylab.system.http import status_of
from manylab.system.run import SAFE_PATH, clean_environment
from manylab.warden import processes

# Seconds: a hub that has many servers to stop, and one that has to come up on a busy machine.
STOPS_WITHIN = 120.0
ANSWERS_WITHIN = 90.0


@contextlib.contextmanager
def running(
    argv: Sequence[str], place: Place, log: str, *, cwd: Path = Path("/"), env: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a program until the block ends, then stop it (SIGTERM) and wait; its pid. Its output goes to that log."""
    setpriv = shutil.which("setpriv", path=SAFE_PATH)
    for folder in (place.logs, place.programs):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    with (place.logs / log).open("ab") as output:
        process = subprocess.Popen(
            [*([setpriv, "--pdeathsig", "TERM"] if setpriv else []), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=clean_environment(env),
            cwd=cwd,
            # Ctrl-C is for the bench: it stops its programs in its own order.
            start_new_session=True,
        )
    seen = processes.see(process.pid)
    note = place.programs / str(process.pid)
    note.write_text(str(seen.process.starttime if seen else 0), encoding="ascii")
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        note.unlink(missing_ok=True)


def end_left_behind(place: Place) -> None:
    """End programs of a bench that was killed. The kernel has told them already, but they may be at it still."""
    if not place.programs.is_dir():
        return
    left = {
        processes.Process(int(path.name), int(path.read_text(encoding="ascii") or 0))
        for path in place.programs.iterdir()
    }
    deadline = time.monotonic() + STOPS_WITHIN
    while left := {process for process in left if processes.alive(process)}:
        harsh = time.monotonic() > deadline
        for process in left:
            processes.send(process, signal.SIGKILL if harsh else signal.SIGTERM)
        time.sleep(0.2)


def wait_until_it_answers(url: str, pid: int, place: Place) -> None:
    """Until the hub answers through the proxy. Raises Unhealthy with the ends of the logs."""
    deadline = time.monotonic() + ANSWERS_WITHIN
    while status_of(f"{url}hub/health", timeout=2) != 200:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if ended or time.monotonic() > deadline:
            why = "it ended" if ended else f"no answer within {ANSWERS_WITHIN:g} s"
            lines = "\n  ".join(last_lines(place.logs))
            raise Unhealthy(f"the bench's own hub does not run ({why}):\n  {lines}", hint="see what its log says")
        time.sleep(0.05)


Say = Callable[[str], None]
