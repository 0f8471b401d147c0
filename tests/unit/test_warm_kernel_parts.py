"""Parts of warm kernels that decide: which variables matter, which kernel spec is whose, what is put out of sight."""

from __future__ import annotations

import builtins
import importlib
import io
import logging
import os
import random
import sys
import textwrap
from pathlib import Path

import pytest

from manylab.lab import provisioner
from manylab.warm import askers, hidden, libraries, process, renewal, streams, traces, variables
from manylab.warm.recorder import Recorder

OURS = {"HOME": "/scratch", "LANG": "C.UTF-8", "PATH": "/usr/bin"}
READERS = {"HOME": {"sysconfig", "jedi.settings"}, "PANDAS_MODE": {"pandas.core"}, "PATH": {"platform"}}


@pytest.mark.parametrize(
    ("more", "libraries", "why"),
    [
        ({"HOME": "/home/alice", "PATH": "/opt/bin", "EDITOR": "vi"}, (), None),
        ({"PYTHONPATH": "/x"}, (), "PYTHONPATH is set"),
        ({"PYTHONSTARTUP": "/x"}, (), None),
        ({"LD_PRELOAD": "/x"}, (), "LD_PRELOAD is set"),
        ({"PANDAS_MODE": "1"}, (), "pandas.core reads it"),
        ({"OMP_NUM_THREADS": "1"}, (), None),
        ({"OMP_NUM_THREADS": "1"}, ("openblas",), None),
        ({"OMP_NUM_THREADS": "1"}, ("openblas", "openmp"), "OMP_NUM_THREADS is set"),
        ({"OPENBLAS_CORETYPE": "Haswell"}, ("openblas",), "OPENBLAS_CORETYPE is set"),
    ],
)
def test_a_variable_that_would_have_made_a_difference_makes_a_kernel_cold(more, libraries, why):
    found = variables.why_cold({**OURS, **more}, OURS, READERS, libraries)
    assert found is None if why is None else found is not None and why in found


def test_a_package_that_reads_the_home_at_import_is_not_taken_for_one_that_is_known():
    found = variables.why_cold({**OURS, "HOME": "/home/alice"}, OURS, {"HOME": {"nltk.data"}}, ())
    assert found == "HOME is set differently, and nltk.data reads it when it is imported"


def test_a_variable_that_a_cell_sets_makes_stale_what_has_read_it_and_is_not_read_again():
    readers = {"SOME_SETTING": {"library.settings"}, "HOME": {"jedi.settings", "nltk.data"}, "NPY_X": {"numpy"}}
    assert variables.stale(OURS, OURS, readers) == set()
    assert variables.stale({**OURS, "SOME_SETTING": "1", "NPY_X": "1"}, OURS, readers) == {"library.settings"}
    assert variables.stale({**OURS, "HOME": "/elsewhere"}, OURS, readers) == {"nltk.data"}


def test_who_reads_a_variable_is_told_even_through_the_standard_library(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    with variables.Readers() as readers:
        assert Path.home() == Path("/home/alice")
        assert os.environ.get("NO_SUCH_VARIABLE") is None
    assert readers.found == {"HOME": {__name__}, "NO_SUCH_VARIABLE": {__name__}}
    assert type(os.environ).__name__ == "_Environ"


@pytest.mark.parametrize(
    ("environ", "processors", "threads"),
    [
        ({}, 4, 4),
        ({}, 96, 64),
        ({"OMP_NUM_THREADS": "2"}, 4, 2),
        ({"OMP_NUM_THREADS": "2,1"}, 4, 2),
        ({"OMP_NUM_THREADS": "9"}, 4, 4),
        ({"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}, 4, 1),
        ({"OPENBLAS_NUM_THREADS": "many"}, 4, 4),
    ],
)
def test_blas_gets_as_many_threads_as_it_would_begin_with(environ, processors, threads):
    assert libraries.threads(environ, processors) == threads


def test_settings_of_their_own_for_matplotlib_are_found(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "notebooks"
    (home / ".config/matplotlib").mkdir(parents=True)
    folder.mkdir()
    environ = {"HOME": str(home)}
    assert libraries.matplotlib_files(environ, str(folder)) is None
    (folder / "matplotlibrc").touch()
    assert libraries.matplotlib_files(environ, str(folder)) == str(folder / "matplotlibrc")
    (home / ".config/matplotlib/matplotlibrc").touch()
    assert libraries.matplotlib_files(environ, str(home)) == str(home / ".config/matplotlib/matplotlibrc")
    assert libraries.matplotlib_files({**environ, "MATPLOTLIBRC": "/x"}, str(home)) == "MATPLOTLIBRC"


@pytest.mark.parametrize(
    ("folder", "environment"),
    [
        ("/opt/manylab/share/jupyter/kernels/python3", "default"),
        ("/opt/manylab/share/jupyter/kernels/manylab-teaching", "teaching"),
        ("/opt/manylab/share/jupyter/kernels/bash", None),
        ("/home/alice/.local/share/jupyter/kernels/python3", None),
    ],
)
def test_only_the_sites_own_kernel_specs_are_started_warm(folder, environment):
    assert provisioner.environment_of(folder, "/opt/manylab/share/jupyter:/usr/share/jupyter") == environment


def test_a_cold_kernel_of_the_site_is_started_by_the_launcher_without_a_port():
    command = ["/env/bin/python", "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "/run/k.json"]
    found = provisioner.without_ports(command)
    assert [*found[:2], *found[3:]] == ["/env/bin/python", "-Xfrozen_modules=off", "-f", "/run/k.json"]
    assert Path(found[2]).name == "cold.py"
    assert Path(found[2]).is_file()


GREATNESS = """
import os, warnings
class Wow(Warning): pass
os.environ["GREATNESS"] = "1"
warnings.simplefilter("ignore", Wow)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `greatness` with a submodule that it does not import, and a module that needs both."""
    files = {
        "greatness/__init__.py": GREATNESS,
        "greatness/deep.py": "VALUE = 42",
        "needy.py": "import greatness.deep\nVALUE = greatness.deep.VALUE",
    }
    for name, text in files.items():
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(importlib._bootstrap, "_find_spec", importlib._bootstrap._find_spec)
    before, scene = set(sys.modules), traces.Scene()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    scene.restore()
    os.environ.pop("GREATNESS", None)


@pytest.fixture
def unseen(package):
    """It was preloaded and is out of sight."""
    before, scene = set(sys.modules), traces.Scene()
    with Recorder() as recorder:
        needy = importlib.import_module("needy")
    found = hidden.Hidden()
    found.hide([name for name in sys.modules if name not in before], recorder)
    scene.restore()
    del os.environ["GREATNESS"]
    found.use()
    return needy


def test_what_was_preloaded_is_not_there_until_it_is_imported(unseen):
    assert not {"needy", "greatness", "greatness.deep"} & set(sys.modules)
    assert importlib.import_module("needy") is unseen
    assert {"needy", "greatness", "greatness.deep"} <= set(sys.modules)
    assert unseen.__spec__.loader.__class__.__name__ == "SourceFileLoader"


def test_a_package_that_was_preloaded_has_only_what_it_imports_itself(unseen):
    greatness = importlib.import_module("greatness")
    assert not hasattr(greatness, "deep")
    assert "greatness.deep" not in sys.modules
    assert importlib.import_module("greatness.deep").VALUE == 42
    assert greatness.deep.VALUE == 42


def test_what_an_import_leaves_elsewhere_comes_with_it(unseen):
    assert "GREATNESS" not in os.environ
    greatness = importlib.import_module("greatness")
    assert os.environ["GREATNESS"] == "1"
    assert sys.modules["warnings"].filters[0][2] is greatness.Wow


def test_a_file_that_comes_earlier_on_the_path_wins_over_what_was_preloaded(unseen, package, monkeypatch):
    (package / "mine").mkdir()
    (package / "mine/greatness.py").write_text("MINE = True")
    monkeypatch.syspath_prepend(str(package / "mine"))
    assert importlib.import_module("greatness").MINE


def test_a_generator_without_a_seed_is_seeded_again(tmp_path):
    with renewal.Seeds() as seeds:
        free, fixed = random.Random(), random.Random(7)
    states = free.getstate(), fixed.getstate()
    seeds.renew()
    assert free.getstate() != states[0]
    assert fixed.getstate() == states[1]


def test_a_command_line_can_be_replaced(tmp_path):
    code = f"""
        import os, sys
        sys.path.insert(0, {str(Path(process.__file__).parents[2])!r})
        from manylab.warm import appearance
        done = appearance.command_line(["/env/bin/python", "-m", "x"], {{"A": "1"}})
        print(done, *(open(f"/proc/self/{{name}}").read() for name in ("cmdline", "environ", "comm")))
    """
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(code))
    shown = os.popen(f"{sys.executable} {program}").read()
    if shown.startswith("False"):
        pytest.skip("this Linux has no CONFIG_CHECKPOINT_RESTORE")
    assert shown == "True /env/bin/python\0-m\0x\0 A=1\0 python\n\n"


def test_what_a_program_inherits_can_be_taken_over_by_the_one_that_has_it():
    assert process.inherit(process.traits()) is None
    assert process.elsewhere(os.getppid()) is None


def test_a_logger_is_not_there_until_its_module_is_and_then_as_a_cell_has_set_it():
    scene = traces.Scene()
    ours, below = logging.getLogger("great.ness"), logging.getLogger("great.ness.deep")
    left = scene.left_since()
    scene.restore()
    table = logging.root.manager.loggerDict
    assert not [name for name in table if name.startswith("great")]
    theirs = logging.getLogger("great.ness")
    theirs.setLevel(logging.ERROR)
    traces.leave(left)
    assert table["great.ness"] is theirs
    assert ours.level == below.getEffectiveLevel() == logging.ERROR
    theirs.setLevel(logging.DEBUG)
    assert ours.level == below.getEffectiveLevel() == logging.DEBUG
    scene.restore()
    assert not [name for name in table if name.startswith("great")]


def test_what_keeps_a_stream_from_its_import_writes_where_a_cell_prints(monkeypatch):
    own = io.StringIO()
    monkeypatch.setattr(sys, "stderr", own)
    with streams.Standing():
        handler = logging.StreamHandler()
        assert sys.stderr.encoding == "UTF-8"
        print("to the nursery's", file=sys.stderr)
    cell = io.StringIO()
    monkeypatch.setattr(sys, "stderr", cell)
    handler.emit(logging.makeLogRecord({"msg": "to the cell's"}))
    assert (own.getvalue(), cell.getvalue()) == ("to the nursery's\n", "to the cell's\n")


def test_who_asks_for_ipython_without_importing_it_is_known():
    importlib.import_module("IPython")
    loading = ["plots.setup"]
    with askers.Askers(loading) as asking:
        with pytest.raises(NameError):
            eval("get_ipython()")
        loading[:] = ["pandas.core.config_init"]
        assert hasattr(eval("get_ipython()"), "kernel")
    assert asking.found == {"plots.setup"}
    assert not hasattr(builtins, "get_ipython")
