"""Passwords are hashed in turn: whoever is first has an answer while others still wait."""

from __future__ import annotations

import asyncio

from manylab.warden.turns import Beginnings


def test_no_more_begin_at_once_than_there_are_places():
    async def people():
        turns, inside, most = Beginnings(places=2, beginning=60), 0, 0

        async def hash_one():
            nonlocal inside, most
            async with turns.turn():
                inside += 1
                most = max(most, inside)
                for _ in range(5):
                    await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(hash_one() for _ in range(20)))
        return most

    assert asyncio.run(people()) == 2


def test_what_waits_and_does_not_hash_keeps_nobody_waiting():
    async def people():
        turns, let_go = Beginnings(places=1, beginning=0.01), asyncio.Event()

        async def guess():
            async with turns.turn():
                await let_go.wait()  # PAM's pause after a wrong password

        guessing = [asyncio.create_task(guess()) for _ in range(5)]
        async with turns.turn():
            still_there = [task for task in guessing if not task.done()]
        let_go.set()
        await asyncio.gather(*guessing)
        return len(still_there)

    assert asyncio.run(asyncio.wait_for(people(), 30)) == 5


def test_a_place_is_given_back_once():
    async def people():
        turns = Beginnings(places=1, beginning=0.001)
        for _ in range(3):
            async with turns.turn():
                # Longer than the beginning: given back by the clock, and not again at the end.
                await asyncio.sleep(0.005)
        return turns._free._value

    assert asyncio.run(people()) == 1
