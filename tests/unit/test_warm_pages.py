"""What a nursery does to share its memory. In processes of their own: it cannot be undone."""

import subprocess
import sys


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_holes_are_filled_and_the_program_goes_on():
    done = python(
        "import json, os\n"
        "from manylab.warm import pages\n"
        "keep = [[object() for _ in range(50)] for _ in range(2000)]\n"
        "for some in keep: del some[::2]\n"
        "before = sum(pages._free_blocks().values())\n"
        "pages.fill_holes()\n"
        "after = sum(pages._free_blocks().values())\n"
        "os.write(2, b'still here')\n"
        "print(json.dumps([before, after]))\n"
    )
    assert done.stderr == "still here"
    before, after = map(int, done.stdout.strip("[]\n").split(","))
    assert before > 40_000
    assert after < before / 10


def test_objects_that_are_not_counted_stay_usable_and_the_program_ends_well():
    done = python(
        "import sys, gc, json, asyncio, logging\n"
        "from manylab.warm import pages\n"
        "class Thing: pass\n"
        "thing, words = Thing(), ['a', 'b']\n"
        "made = pages.stop_counting()\n"
        "gc.freeze()\n"
        # Older Pythons count everything, and are left alone.
        "assert made > 1000 if pages.can_stop_counting() else made == 0\n"
        "assert not made or sys.getrefcount(thing) == sys.getrefcount(None)\n"
        "count = sys.getrefcount(thing)\n"
        "more = [thing] * 1000; del more\n"
        "assert sys.getrefcount(thing) == count\n"
        "new = Thing(); assert sys.getrefcount(new) == 2\n"
        "words.append('c'); thing.x = words; del thing.x, Thing\n"
        "asyncio.run(asyncio.sleep(0)); gc.collect(); print(json.dumps(words))\n"
    )
    assert (done.stdout, done.stderr, done.returncode) == ('["a", "b", "c"]\n', "", 0)


def test_code_that_was_laid_together_is_the_same_code():
    done = python(
        "import asyncio, inspect\n"
        "from manylab.warm import pages\n"
        "def add(a, b=2, *, c=3): return a + b + c\n"
        "async def later(): return add(1)\n"
        "def never(): pass\n"
        "def counter():\n"
        "    n = 0\n"
        "    def count():\n"
        "        nonlocal n; n += 1; return n\n"
        "    return count\n"
        "count = counter()\n"
        "before, other = add.__code__, never.__code__\n"
        "seen = []\n"
        "assert pages.lay_together(lambda: seen.append(asyncio.run(later()) + count())) > 20\n"
        "assert (add.__code__ is before, never.__code__ is other) == (False, True)\n"
        "assert (add.__code__ == before, add.__code__.co_filename) == (True, before.co_filename)\n"
        "print(seen, add(1, c=4), asyncio.run(later()), count(), inspect.signature(add))\n"
    )
    assert (done.stdout, done.stderr) == ("[7] 7 6 2 (a, b=2, *, c=3)\n", "")
