"""The load generator: `python -I -m manylab.cli.bench.load`, people with browsers in a process of their own.

Orders come on standard input, answers go to standard output, one JSON value a line:

    {"do": "arrive", "site": URL, "people": [[NAME, PASSWORD], ...], "within": SECONDS}
    {"do": "kernel" | "cell", "people": [NAME, ...], "code": TEXT, "within": SECONDS}
    {"do": "leave", "people": [NAME, ...], "within": SECONDS}

Each answer is {"people": {NAME: {...} or {"failed": TEXT}}, "wall": SECONDS, "cpu": SECONDS}, `cpu` being what this
process itself used. It ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import aiohttp

from manylab.cli.bench.person import Failed, Person
from manylab.warm import process

Outcome = dict[str, Any]


class Crowd:
    """Everybody who has arrived and not left, by name."""

    def __init__(self) -> None:
        self._people: dict[str, Person] = {}

    async def obey(self, order: dict[str, Any]) -> Outcome:
        """Carry out one order."""
        within = float(order["within"])
        if order["do"] == "arrive":
            return await self._arrive(order["site"], order["people"], within)
        names: list[str] = order["people"]
        if order["do"] == "leave":
            return await self._leave(names, within)
        code, fresh = order["code"], order["do"] == "kernel"

        async def run(person: Person) -> Outcome:
            seconds, printed = await (person.run_in_new_kernel(code) if fresh else person.run(code))
            return {"seconds": seconds, "printed": printed}

        return await measure({name: self._with(name, run) for name in names}, within)

    async def _arrive(self, site: str, people: Sequence[Sequence[str]], within: float) -> Outcome:
        """All at the same moment: everybody has the form before its page before anybody sends it."""
        for name, password in people:
            await self._close(name)
            self._people[name] = Person(site, name, password)
        names = [name for name, _ in people]
        opened = await measure({name: self._with(name, _come) for name in names}, within)
        missing = {name: said for name, said in opened["people"].items() if "failed" in said}
        answer = await measure({name: self._with(name, _enter) for name in names if name not in missing}, within)
        answer["people"].update(missing)
        return answer

    async def _leave(self, names: Iterable[str], within: float) -> Outcome:
        answer = await measure({name: self._with(name, _leave) for name in names}, within)
        for name in answer["people"]:
            await self._close(name)
        return answer

    async def _with(self, name: str, act: Callable[[Person], Awaitable[Outcome]]) -> Outcome:
        if name not in self._people:
            raise Failed("not there")
        return await act(self._people[name])

    async def _close(self, name: str) -> None:
        if (person := self._people.pop(name, None)) is not None:
            await person.close()

    async def close(self) -> None:
        """Everybody closes their browser."""
        for name in list(self._people):
            await self._close(name)


async def _come(person: Person) -> Outcome:
    await person.come()
    return {}


async def _enter(person: Person) -> Outcome:
    return dict(await person.enter())


async def _leave(person: Person) -> Outcome:
    await person.leave()
    return {}


async def measure(work: dict[str, Awaitable[Outcome]], within: float) -> Outcome:
    """Do all of it at once; how it went for each, and what it took of this process."""

    async def one(act: Awaitable[Outcome]) -> Outcome:
        try:
            return await asyncio.wait_for(act, within)
        except (asyncio.TimeoutError, TimeoutError):
            return {"failed": f"no answer in {within:g} s"}
        except (Failed, aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            return {"failed": f"{error}" or type(error).__name__}

    wall, cpu = time.perf_counter(), _cpu()
    said = await asyncio.gather(*(one(act) for act in work.values()))
    return {
        "people": dict(zip(work, said, strict=True)),
        "wall": time.perf_counter() - wall,
        "cpu": _cpu() - cpu,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    """Obey until standard input ends."""
    # Each person takes several connections, and a shell allows 1,024 files.
    process.more_files()
    crowd = Crowd()
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await crowd.obey(json.loads(line))), flush=True)
    finally:
        await crowd.close()


if __name__ == "__main__":
    asyncio.run(main())
