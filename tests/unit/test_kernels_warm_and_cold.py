"""Warm and cold kernels of one account, without a site: the same cells print the same.

tests/machine/test_kernel_conformance.py does it through a real one. MANYLAB_KERNEL_PYTHON: another environment's Python
than the tests' own, such as one with numpy, pandas and matplotlib.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from manylab.lab import forked
from support.cells import SETUP, cells, difference, without_chance
from support.kernels import Kernel, Nursery, until

pytestmark = pytest.mark.timeout(180)
PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")


@pytest.fixture(scope="module")
def nursery():
    with Nursery(PRELOAD) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def printed(kernel: Kernel, home: Path) -> dict[str, str]:
    """What each cell shows."""
    kernel.run(SETUP)
    mine = ((str(kernel.folder), "FOLDER"), (str(home), "HOME"))
    return {name: without_chance(kernel.run(code), *mine) for name, code in cells().items()}


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "TZ": "Asia/Shanghai",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "TERM": "xterm-256color",
            "LC_ALL": "C.utf8",
        },
    ],
    ids=["usual", "their own settings"],
)
def test_every_cell_prints_the_same_in_a_warm_and_in_a_cold_kernel(nursery, home, environ):
    with nursery.cold(home, environ) as kernel:
        cold = printed(kernel, home)
    empty(home)
    with nursery.warm(home, environ) as kernel:
        warm = printed(kernel, home)
        log = kernel.log.read_text()
    assert not difference(cold, warm), difference(cold, warm)
    assert log == ""


@pytest.mark.parametrize(
    "name", ["workers find a module beside the notebook", "decimal's default context", "what is imported, in its order"]
)
def test_a_cell_that_comes_first_prints_the_same_in_both(nursery, home, name):
    found = []
    for kind in (nursery.cold, nursery.warm):
        with kind(home) as kernel:
            found.append(without_chance(kernel.run(cells("first_cells.txt")[name]), (str(kernel.folder), "FOLDER")))
        empty(home)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "before",
    [
        "import sys, jedi; [sys.modules.pop(n) for n in list(sys.modules) if n.startswith(('parso', 'jedi'))]",
        "import sys; sys.modules['parso'] = None",
        "import sys, types; sys.modules['parso.utils'] = types.ModuleType('parso.utils')",
        "open('parso.py', 'w').write('MINE = 1')",
        "import os; os.mkdir('mine'); open('mine/parso.py', 'w'); import sys; sys.path.insert(0, 'mine')",
    ],
)
def test_what_a_module_is_made_of_can_be_deleted_forbidden_and_replaced(nursery, home, before):
    code = f"""
{before}
try:
    import jedi.api
    print(sys.modules['parso'].__file__, jedi.Script('import o').complete()[0].name, jedi.parser_utils.__file__)
except (ImportError, AttributeError) as error:
    print(type(error), error)
"""
    found = []
    for kind in (nursery.cold, nursery.warm):
        with kind(home) as kernel:
            # What IPython has imported for its own completions is not this cell's.
            found.append(without_chance(kernel.run("import sys\n" + code), (str(kernel.folder), "FOLDER")))
        empty(home)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"PYTHONPATH": "/somewhere"}, "PYTHONPATH"),
        ({"PYTHONHASHSEED": "1"}, "PYTHONHASHSEED"),
        ({"LD_LIBRARY_PATH": "/somewhere"}, "LD_LIBRARY_PATH"),
        ({"LANG": "C"}, "locale is C"),
        ({"LANG": "xx_XX.UTF-8"}, "does not exist"),
    ],
)
def test_what_an_interpreter_reads_when_it_starts_makes_a_kernel_cold(nursery, home, environ, why):
    with pytest.raises(forked.Cold, match=why), nursery.warm(home, environ):
        pass


@pytest.mark.parametrize("name", ["parso.py", "jedi/__init__.py"])
def test_a_file_that_is_found_in_the_place_of_what_is_preloaded_makes_a_kernel_cold(nursery, home, name):
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text("MINE = 1")
    with pytest.raises(forked.Cold, match=f"{name.partition('/')[0]}.* has the name of a module"), nursery.warm(home):
        pass


def test_a_folder_that_has_the_name_of_a_module_and_a_file_that_comes_after_pythons_own_do_not(nursery, home):
    for name in ("numpy", "jedi"):
        (home / name).mkdir()
    for name in ("parso.txt", "profile.py"):
        (home / name).touch()
    with nursery.warm(home) as kernel:
        assert kernel.run("import jedi, profile; print(jedi.__name__, profile.__name__)") == "jedi profile\n"


def test_a_module_of_their_own_stays_when_another_brings_its_namesake(nursery, home):
    with nursery.warm(home) as kernel:
        kernel.run("open('parso.py', 'w').write('MINE = 1'); import parso, jedi")
        assert kernel.run("import parso; print(parso.MINE)") == "1\n"


def test_a_file_named_like_manylab_does_not_stop_a_cold_kernel(nursery, home):
    own = home / "own"
    (own / "manylab").mkdir(parents=True)
    (own / "manylab" / "__init__.py").write_text("raise SystemExit('mine')\n")
    with nursery.launched(home, {"PYTHONPATH": str(own)}) as kernel:
        assert "SystemExit" in kernel.run("import manylab")
        shown = kernel.run("import sys; [n for n in sys.modules if n.startswith('manylab')]")
    assert "[]" in shown


def test_two_kernels_have_random_numbers_of_their_own(nursery, home):
    code = "import random, os; random.random(), os.urandom(4), __import__('multiprocessing').current_process().authkey"
    with nursery.warm(home) as one, nursery.warm(home) as other:
        first, second = (eval(kernel.run(code).partition("'] ")[2].rstrip(">")) for kernel in (one, other))
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_each_kernel_has_a_session_of_its_own_in_the_history(nursery, home):
    file = home / ".ipython/profile_default/history.sqlite"

    def kept(column: str, table: str) -> list[object]:
        with contextlib.closing(sqlite3.connect(file)) as database:
            return [found for (found,) in database.execute(f"SELECT {column} FROM {table} ORDER BY session")]

    ask = "print(get_ipython().history_manager.session_number)"
    with nursery.warm(home) as one, nursery.warm(home) as other:
        numbers = [int(kernel.run(ask)) for kernel in (one, other)]
        until(lambda: kept("session", "sessions") == numbers)
        until(lambda: kept("source", "history") == [ask, ask])
    assert numbers == [1, 2]
    with nursery.cold(home) as cold:
        assert int(cold.run(ask)) == 3


def test_an_interrupt_ends_a_loop_and_a_call_that_waits_in_c(nursery, home):
    with nursery.warm(home) as kernel:
        for code in (
            "print('go', flush=True)\nwhile True: pass",
            "import time\nprint('go', flush=True)\ntime.sleep(600)",
        ):
            # Without this ipykernel takes back what arrives just after an error.
            kernel.client.execute(code, stop_on_error=False)
            until(lambda: kernel.client.get_iopub_msg(timeout=60)["msg_type"] == "stream")
            kernel.process.signal_group(signal.SIGINT)
            assert kernel.client.get_shell_msg(timeout=60)["content"]["ename"] == "KeyboardInterrupt"
        assert kernel.run("print(6 * 7)") == "42\n"


def test_the_exit_of_a_kernel_is_known(nursery, home):
    with nursery.warm(home) as kernel:
        kernel.client.execute("import os; os._exit(3)")
        until(lambda: kernel.process.poll() is not None)
        assert kernel.process.poll() == 3
    with nursery.warm(home) as kernel:
        kernel.process.kill()
        assert kernel.process.wait(60) == -9


def test_a_kernel_shuts_down_when_it_is_asked_to(nursery, home):
    with nursery.warm(home) as kernel:
        kernel.client.shutdown()
        assert kernel.process.wait(60) == 0


def test_no_kernel_listens_on_tcp(nursery, home):
    with nursery.warm(home) as kernel:
        owned = {str(path.readlink()) for path in Path(f"/proc/{kernel.process.pid}/fd").iterdir()}
        for table in ("tcp", "tcp6"):
            lines = Path(f"/proc/{kernel.process.pid}/net/{table}").read_text().splitlines()[1:]
            assert not [line for line in lines if f"socket:[{line.split()[9]}]" in owned]


def test_kernels_go_on_when_their_nursery_is_killed(home):
    with Nursery() as nursery, nursery.warm(home) as kernel:
        nursery.process.kill()
        nursery.process.wait()
        assert kernel.run("print(6 * 7)") == "42\n"
        with pytest.raises(forked.Cold, match="does not answer"), nursery.warm(home):
            pass
        kernel.process.kill()
        assert kernel.process.wait(60) == forked.UNKNOWN


def test_a_nursery_that_is_stopped_is_not_waited_for(home):
    with Nursery() as nursery:
        nursery.process.send_signal(signal.SIGSTOP)
        with pytest.raises(forked.Cold, match="stopped"), nursery.warm(home):
            pass
        nursery.process.send_signal(signal.SIGCONT)
        with nursery.warm(home) as kernel:
            assert kernel.run("print(6 * 7)") == "42\n"


def test_many_kernels_start_at_once(nursery, home):
    with contextlib.ExitStack() as stack:
        kernels = [stack.enter_context(nursery.warm(home)) for _ in range(20)]
        assert [kernel.run("print(6 * 7)") for kernel in kernels] == ["42\n"] * 20


class Debugger:
    """What the Lab's debugger says to a kernel over its control channel."""

    def __init__(self, kernel: Kernel) -> None:
        self.client = kernel.client
        self.said = 0

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        self.said += 1
        content = {"type": "request", "seq": self.said, "command": command, "arguments": arguments}
        self.client.control_channel.send(self.client.session.msg("debug_request", content))
        while True:
            answer: dict[str, Any] = self.client.get_control_msg(timeout=30)["content"]
            if answer.get("request_seq") == self.said:
                return answer

    def event(self, name: str) -> dict[str, Any]:
        while True:
            message = self.client.get_iopub_msg(timeout=30)
            if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
                return dict(message["content"])


def test_a_cell_stops_at_a_breakpoint(nursery, home):
    with nursery.warm(home) as kernel:
        debugger = Debugger(kernel)
        assert debugger.ask("debugInfo")["success"]
        assert debugger.ask("initialize", clientID="tests", adapterID="")["success"]
        assert debugger.ask("attach")["success"]
        code = "value = 6\nanswer = value * 7\nprint(answer)"
        source = {"path": debugger.ask("dumpCell", code=code)["body"]["sourcePath"]}
        assert debugger.ask("setBreakpoints", breakpoints=[{"line": 2}], source=source, sourceModified=False)["success"]
        assert debugger.ask("configurationDone")["success"]
        kernel.client.execute(code)
        thread = debugger.event("stopped")["body"]["threadId"]
        assert debugger.ask("stackTrace", threadId=thread)["body"]["stackFrames"][0]["line"] == 2
        names = {each["name"] for each in debugger.ask("inspectVariables")["body"]["variables"]}
        assert "value" in names
        assert debugger.ask("continue", threadId=thread)["success"]
        assert kernel.client.get_shell_msg(timeout=30)["content"]["status"] == "ok"
        assert debugger.ask("disconnect", restart=False, terminateDebuggee=True)["success"]
