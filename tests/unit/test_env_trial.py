"""A candidate is tried in a cage before anybody uses it, and what is wrong with it is said by name."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from manylab.base.errors import EnvironmentFailed
from manylab.model.locked import versions
from manylab.plan.packages import difference, in_words
from manylab.system.environments import inspect, making, record, trial
from manylab.system.environments.distributions import conflicts, installed
from support.environment import Builder
from support.wheels import wheel

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root has a cage to put a package into")


@pytest.fixture
def builder(tmp_path) -> Builder:
    # pytest's folders are their owner's alone, and the account of the cage is somebody else.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    return Builder(tmp_path)


def refused(builder, *wheels) -> str:
    """What is said of a candidate that is not taken; nothing of it is left."""
    want = builder.wanted("aaa", *wheels)
    with pytest.raises(EnvironmentFailed) as failure:
        builder.build(want)
    assert not want.path.exists()
    assert failure.value.hint
    return failure.value.message


def test_a_package_that_cannot_be_imported_is_named_with_its_last_words(builder):
    broken = wheel(builder.wheels, "broken", "1.0", {"broken/__init__.py": "raise OSError('libfoo.so is missing')\n"})
    fine = wheel(builder.wheels, "fine", "1.0", {"fine.py": ""})
    said = refused(builder, fine, broken)
    assert said.startswith("broken cannot be imported") and "libfoo.so is missing" in said


def test_a_package_that_ends_the_process_is_named(builder):
    deadly = wheel(builder.wheels, "deadly", "1.0", {"deadly.py": "import os; os.kill(os.getpid(), 11)\n"})
    fine = wheel(builder.wheels, "fine", "1.0", {"fine.py": ""})
    said = refused(builder, deadly, fine)
    assert "deadly cannot be imported" in said and "signal 11" in said


def test_a_module_that_only_fails_in_company_is_no_reason(builder):
    picky = "import sys\nassert 'afirst' not in sys.modules\n"
    want = builder.wanted(
        "aaa",
        wheel(builder.wheels, "afirst", "1.0", {"afirst.py": ""}),
        wheel(builder.wheels, "picky", "1.0", {"picky.py": picky}),
        wheel(builder.wheels, "zlast", "1.0", {"zlast.py": ""}),
        name="server",
    )
    builder.install(want)
    trial._inside(
        want, {"modules": {"afirst": "a", "picky": "p", "zlast": "z"}, "kernel": [], "programs": []}, "nobody", print
    )


def test_an_environment_without_a_working_kernel_is_refused(builder):
    said = refused(builder, wheel(builder.wheels, "fine", "1.0", {"fine.py": ""}))
    assert "a kernel does not run a cell" in said


def test_packages_that_do_not_fit_together_are_named(builder):
    one = wheel(builder.wheels, "one", "1.0", {"one.py": ""}, requires=("two>=2", "three; python_version<'3'", "four"))
    two = wheel(builder.wheels, "two", "1.0", {"two.py": ""})
    said = refused(builder, one, two)
    assert "one 1.0 needs two>=2, and there is 1.0" in said
    assert "one 1.0 needs four, which is not there" in said
    assert "three" not in said


@pytest.mark.parametrize("path", ["data/bin/python", "scripts/python3", "data/pyvenv.cfg", "purelib/_virtualenv.py"])
def test_a_package_that_would_take_the_environment_over_is_refused_by_name(builder, path):
    evil = wheel(builder.wheels, "evil", "1.0", {"evil.py": "", f"evil-1.0.data/{path}": "#!python\n"})
    assert "evil" in refused(builder, evil)


def test_a_package_cannot_write_the_marker(builder):
    evil = wheel(builder.wheels, "evil", "1.0", {"evil.py": "", f"evil-1.0.data/data/{record.MARKER}": "{}"})
    assert f"evil 1.0 brings {record.MARKER}" in refused(builder, evil)


def test_a_lock_without_a_hash_is_refused(builder):
    want = builder.wanted("aaa", wheel(builder.wheels, "fine", "1.0", {"fine.py": ""}))
    want = dataclasses.replace(want, lock="fine==1.0\n")
    with pytest.raises(EnvironmentFailed, match="hash"):
        builder.build(want)
    assert not want.path.exists()


def test_what_people_should_know_of_packages_is_reported(builder):
    want = builder.wanted(
        "aaa",
        wheel(builder.wheels, "hook", "1.0", {"hook.pth": "import sys\n", "hook.py": ""}),
        wheel(builder.wheels, "kernels", "1.0", {"kernels-1.0.data/data/share/jupyter/kernels/mine/kernel.json": "{}"}),
        wheel(builder.wheels, "shadow", "1.0", {"json/__init__.py": "", "twice/__init__.py": ""}),
        wheel(builder.wheels, "twice", "1.0", {"twice/__init__.py": ""}),
    )
    builder.install(want)
    assert inspect.report(want.path, installed(want.path)) == [
        "hook runs code at every start of Python (hook.pth)",
        "kernels brings a kernel of its own (mine)",
        "shadow brings a module with the name of one of Python's own (json)",
        "twice brings the module twice, and so does shadow",
    ]


def test_a_package_cannot_hide_what_it_brings_from_the_report(builder):
    """By a path through another folder, by leaving it out of its own list, or by putting it into another's."""
    minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    data = f"around-1.0.data/data/lib/{minor}/site-packages"
    silent = wheel(builder.wheels, "silent", "1.0", {"silent.py": ""})
    with zipfile.ZipFile(silent, "a") as archive:
        archive.writestr("silent.pth", "import silent\n")
    want = builder.wanted(
        "aaa",
        silent,
        wheel(builder.wheels, "around", "1.0", {f"{data}/around.pth": "import os\n", f"{data}/json.py": ""}),
        wheel(builder.wheels, "custom", "1.0", {"sitecustomize.py": "", "usercustomize/__init__.py": ""}),
        wheel(builder.wheels, "large", "1.0", {"large/__init__.py": "", "large/part.py": ""}),
        wheel(builder.wheels, "patch", "1.0", {"large/part.py": "import os\n", "patch.py": ""}),
        wheel(builder.wheels, "smart", "1.0", {"smart-1.0.data/data/etc/ipython/ipython_config.py": ""}),
        wheel(builder.wheels, "space_one", "1.0", {"space/one/__init__.py": ""}),
        wheel(builder.wheels, "space_two", "1.0", {"space/two/__init__.py": ""}),
    )
    builder.install(want)
    assert inspect.report(want.path, installed(want.path)) == [
        "around brings a module with the name of one of Python's own (json)",
        "around runs code at every start of Python (around.pth)",
        "custom runs code at every start of Python (sitecustomize.py)",
        "custom runs code at every start of Python (usercustomize)",
        "large and patch bring the same file (large/part.py)",
        "silent runs code at every start of Python (silent.pth)",
        "smart brings settings of IPython, which every kernel reads (ipython_config.py)",
    ]


def test_what_conda_packages_bring_is_reported_too(tmp_path):
    packages = tmp_path / "lib/python3.12/site-packages"
    for name in ("hook.pth", "json/__init__.py", "one-1.0.dist-info/METADATA", "one.py"):
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text("")
    (packages / "one-1.0.dist-info/RECORD").write_text("one.py,,\none-1.0.dist-info/METADATA,,\n")
    (tmp_path / "conda-meta").mkdir()
    brought = {"hooks": ["hook.pth", "json/__init__.py"], "py-one": ["one.py", "one-1.0.dist-info/METADATA"]}
    for name, files in brought.items():
        said = {"name": name, "files": [f"lib/python3.12/site-packages/{file}" for file in files]}
        (tmp_path / f"conda-meta/{name}.json").write_text(json.dumps(said))
    for number, text in enumerate(("{", "[]", "7", '{"name": "x"}')):  # what anybody may put there
        (tmp_path / f"conda-meta/bad{number}.json").write_text(text)
    assert inspect.report(tmp_path, installed(tmp_path)) == [
        "hooks brings a module with the name of one of Python's own (json)",
        "hooks runs code at every start of Python (hook.pth)",
    ]


def test_import_names_are_found_in_records(builder):
    want = builder.wanted(
        "aaa",
        wheel(
            builder.wheels,
            "space",
            "1.0",
            {"company/cloud/store/__init__.py": "", "company/cloud/store/a/__init__.py": ""},
        ),
        wheel(builder.wheels, "single", "1.0", {"single.py": "", "_single.py": "", "tests/__init__.py": ""}),
        wheel(builder.wheels, "programs", "1.0", {"programs-1.0.data/scripts/prog": "#!python\n"}),
    )
    builder.install(want)
    found = {name: package.imports for name, package in installed(want.path).items()}
    assert found == {"space": ("company.cloud.store",), "single": ("single",), "programs": ()}
    assert conflicts(installed(want.path), "3.11.2") == []


@as_root
def test_in_the_cage_there_is_no_power_no_network_and_nobody_else_s_files(builder, monkeypatch):
    monkeypatch.setenv("MANYLAB_TEST_SECRET", "hunter2")
    look = """
import json, os, socket
said = {"uid": os.getresuid(), "groups": os.getgroups(), "environ": sorted(os.environ)}
status = open("/proc/self/status").read()
said["caps"] = [line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "NoNewPrivs"))]
said["pids"] = len([name for name in os.listdir("/proc") if name.isdigit()])
said["nets"] = sorted(name for _, name in socket.if_nameindex())
said["home"] = os.listdir("/home") + os.listdir("/root") if os.access("/root", os.R_OK) else os.listdir("/home")
raise SystemError("".join(f"\\n{name}={json.dumps(value)}" for name, value in said.items()))
"""
    want = builder.wanted("aaa", wheel(builder.wheels, "look", "1.0", {"look.py": look}), name="server")
    builder.install(want)
    task = {"modules": {"look": "look"}, "kernel": [], "programs": []}
    with pytest.raises(EnvironmentFailed) as failure:
        trial._inside(want, task, "nobody", builder.said.append)
    rows = [line.strip().split("=", 1) for line in failure.value.message.splitlines() if "=" in line]
    said = {name: json.loads(value) for name, value in rows if name.islower() and value[:1] in '["0123456789'}
    assert said["uid"] == [65534, 65534, 65534] and said["groups"] == []
    assert said["caps"] == ["0000000000000000", "0000000000000000", "1"]
    assert "MANYLAB_TEST_SECRET" not in said["environ"]
    assert "lo" in said["nets"] and not [name for name in said["nets"] if name.startswith(("eth", "en", "veth"))]
    assert said["home"] == []
    assert said["pids"] < 8


@as_root
def test_what_a_package_leaves_running_is_ended_with_the_cage(builder):
    daemon = "import subprocess; subprocess.Popen(['sleep', '98765'], start_new_session=True)\n"
    want = builder.wanted("aaa", wheel(builder.wheels, "daemon", "1.0", {"daemon.py": daemon}), name="server")
    builder.install(want)
    trial._inside(want, {"modules": {"daemon": "daemon"}, "kernel": [], "programs": []}, "nobody", print)
    assert not [one for one in Path("/proc").glob("[0-9]*") if _words(one) == ["sleep", "98765"]]


@as_root
@pytest.mark.parametrize("own", [True, False])
def test_where_there_are_no_namespaces_an_account_of_its_own_is_emptied(own):
    """The account of nobody is others' as well."""
    text = (Path(trial.__file__).parent / "cage.py").read_text()
    # As in a container that allows none.
    assert "0x20000000, 0x40000000" in text
    text = text.replace("0x20000000, 0x40000000", "-1, 0x40000000")
    uid, mark = 61234, f"9876{own:d}"
    settings = {"uid": uid, "gid": uid, "own": own, "cover": [], "variables": {"HOME": "/", "PATH": os.defpath}}
    program = ["/bin/sh", "-c", f"setsid sleep {mark} & sleep 0.1"]
    subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", text, json.dumps(settings), *program], check=True)
    left = [int(one.name) for one in Path("/proc").glob("[0-9]*") if _words(one) == ["sleep", mark]]
    for pid in left:
        os.kill(pid, 9)
    assert bool(left) is not own


def _words(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def test_a_full_disk_is_said_and_nothing_is_left(builder, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "_install_self", full)
    want = dataclasses.replace(builder.wanted("aaa", name="hub"), own_code=("base",))
    with pytest.raises(Exception, match="disk is full") as failure:
        builder.build(want)
    assert failure.value.code == "E-DISK-FULL"
    assert not want.path.exists()


def test_a_difference_is_said_in_words():
    before = versions("a==1.0 \\\n    --hash=sha256:0\nB_c==2.0\nd==1.10\n")
    moved = difference(before, versions("a==1.2\nb-c==2.0\nd==1.9\nnew==1\n"))
    assert [in_words(one) for one in moved] == ["~ a 1.0 -> 1.2", "~ d 1.10 -> 1.9 (older)", "+ new 1"]
    assert [in_words(one) for one in difference({"x": "1"}, {})] == ["- x 1"]
