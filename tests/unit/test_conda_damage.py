"""The conda backend against a channel that is damaged, cut off, or run by somebody who wishes us ill."""

from __future__ import annotations

import dataclasses
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manylab.base.errors import DownloadFailed, EnvironmentFailed
from manylab.model.conda_lock import parse
from manylab.model.resources import Environment
from manylab.system.environments import conda as conda_environments
from support.channel import PYTHON, Channel, Fault, Link, Package, Server, stand_in_python
from support.conda_site import CondaSite


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    made = Channel(tmp_path / "channel")
    made.add(stand_in_python())
    return made


@pytest.fixture
def server(channel: Channel) -> Iterator[Server]:
    with Server(channel).running() as running:
        yield running


@pytest.fixture
def conda(server: Server, tmp_path: Path) -> CondaSite:
    return CondaSite(tmp_path / "site", (server.url,))


DATA = Package("data", files={"share/data": bytes(range(256)) * 1000})


@pytest.mark.parametrize("what", ["sha256", "size"])
def test_a_package_without_its_hash_or_size_is_refused_by_name(conda, channel, server, what):
    channel.add(DATA, **{what: None})
    with pytest.raises(EnvironmentFailed, match=rf"package data of the channel {server.url} has no {what}"):
        conda.solve("data")


def test_a_package_that_has_only_an_md5_is_not_even_downloaded(conda, channel, server):
    path = channel.add(DATA, sha256=None)
    with pytest.raises(EnvironmentFailed, match="sha256"):
        conda.solve("data")
    assert path not in server.asked


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(damage=True), "sha256"),
        (Fault(more=b"and a gigabyte more"), "more than the"),
        (Fault(close_after=100_000), "could not be downloaded"),
        (Fault(status=404), "404"),
    ],
    ids=["damaged", "too large", "cut off", "gone"],
)
def test_what_is_not_as_the_lock_says_fails_and_leaves_nothing_in_the_cache(conda, channel, server, fault, reason):
    path = channel.add(DATA)
    lock = conda.solve("data")
    server.faults[path] = fault
    with pytest.raises(DownloadFailed, match=reason):
        conda.build(lock)
    assert not [one for one in conda.archives if "data" in one.name]
    assert not (conda.folder / "env").exists()


@pytest.mark.parametrize("fault", [Fault(damage=True), Fault(close_after=1), Fault(status=503)], ids=str)
def test_a_download_that_goes_wrong_once_is_begun_again(conda, channel, server, fault):
    path = channel.add(DATA)
    lock = conda.solve("data")
    fault.times = 1
    server.faults[path] = fault
    assert (conda.build(lock) / "share/data").read_bytes() == DATA.files["share/data"]


def test_a_server_that_falls_silent_is_asked_again_and_a_slow_start_is_no_harm(conda, channel, server):
    path = channel.add(DATA)
    lock = conda.solve("data")
    conda.silence = 1.0
    server.faults[path] = Fault(stall_after=100_000, times=1)
    assert (conda.build(lock) / "share/data").read_bytes() == DATA.files["share/data"]
    assert server.asked.count(path) == 2
    assert any("the server sent nothing for 1 seconds; trying again" in line for line in conda.said)


def test_a_server_that_sends_more_than_it_should_is_not_listened_to(conda, channel, server):
    path = channel.add(DATA, size=1000)
    lock = conda.solve("data")
    with pytest.raises(DownloadFailed, match="more than the 1000 bytes"):
        conda.build(lock)
    assert server.asked.count(path) == 1, "another attempt would not help"


def test_a_damaged_archive_in_the_cache_is_fetched_again(conda, channel, server):
    path = channel.add(DATA)
    lock = conda.solve("data")
    conda.fetch(lock)
    (cached,) = [one for one in conda.archives if "data" in one.name]
    cached.write_bytes(b"?" + cached.read_bytes()[1:])
    assert (conda.build(lock) / "share/data").read_bytes() == DATA.files["share/data"]
    assert server.asked.count(path) == 2


def test_what_stands_unpacked_in_the_cache_is_compared_before_it_is_linked(conda, channel):
    channel.add(DATA)
    lock = conda.solve("data")
    conda.build(lock, "first")
    (unpacked,) = (conda.folder / "cache/conda/unpacked").rglob("share/data")
    unpacked.unlink()
    unpacked.write_bytes(b"")
    assert (conda.build(lock, "second") / "share/data").read_bytes() == DATA.files["share/data"]


OUTSIDE = "../../../../../../../../../../tmp/manylab-should-not-be-here"


@pytest.mark.parametrize(
    "package",
    [
        Package("evil", files={OUTSIDE: b"x"}),
        Package("evil", files={"/tmp/manylab-should-not-be-here": b"x"}),
        Package("evil", files={"share/x": Link("/etc")}),
        Package("evil", files={"share/x": Link("../../etc")}),
        Package("evil", files={"a/b": Link(".."), "c": Link("a/b/../..")}),
        Package("evil", files={"a": Link("."), "a/b/l": Link("..")}),
        Package("evil", files={"x": Link("/etc/hostname", hard=True)}),
        Package("evil", files={"x": Link("../../secret", hard=True)}),
        Package("evil", files={"ok": b"x"}, extra_paths=({"_path": OUTSIDE, "path_type": "hardlink"},)),
        Package("evil", files={"ok": b"x"}, extra_paths=({"_path": "/etc/x", "path_type": "directory"},)),
        Package("evil", noarch="python", entry_points=(f"{OUTSIDE} = os:getcwd",), depends=("python",)),
        Package("evil", files={"conda-meta/other-1.0-0.json": b"{}"}),
        Package("evil", info={"info/index.json": b"{"}),
        Package("evil", info={"info/paths.json": b'{"paths": 7}'}),
        Package("evil", info={"info/index.json": json.dumps({**Package("other").index()}).encode()}),
    ],
    ids=[
        *("file above", "absolute file", "absolute link", "link above", "link by a link", "link behind a link"),
        *("absolute hard link", "hard link above", "path above", "absolute path", "command above", "a record"),
        *("broken index", "broken paths", "another name"),
    ],
)
def test_a_package_that_reaches_out_of_the_environment_is_refused_as_a_whole(conda, channel, package, server):
    channel.add(package)
    lock = conda.solve("evil")
    with pytest.raises(EnvironmentFailed, match=rf"evil-1.0-0.conda of the channel {server.url} is refused"):
        conda.build(lock)
    assert not Path("/tmp/manylab-should-not-be-here").exists()
    assert not (conda.folder / "env").exists(), "nothing was linked"


def test_a_link_behind_another_package_s_link_is_refused(conda, channel):
    channel.add(Package("one", files={"deep/er": Link("..")}))
    channel.add(Package("two", files={"deep/er/out": Link("..")}))
    with pytest.raises(EnvironmentFailed, match="stands behind another link, deep/er"):
        conda.build(conda.solve("one", "two"))


def test_a_python_that_puts_modules_elsewhere_is_refused(conda, channel):
    channel.add(stand_in_python(f"{PYTHON}.100", more={"python_site_packages_path": "../../../../usr/lib/python3"}))
    with pytest.raises(EnvironmentFailed, match="puts Python's modules into"):
        conda.build(conda.solve())


def test_links_that_stay_inside_are_no_harm(conda, channel):
    files = {"lib/a.so.1": b"library", "lib/a.so": Link("a.so.1"), "share/x/lib": Link("../../lib"), "l": Link("./lib")}
    channel.add(Package("fine", files=files))
    assert (conda.build(conda.solve("fine")) / "share/x/lib/a.so").read_bytes() == b"library"


@pytest.mark.parametrize(
    ("name", "value"),
    [("url", "file:///etc/shadow"), ("url", "http://elsewhere.example/linux-64/data-1.0-0.conda")],
    ids=["a local file", "elsewhere"],
)
def test_a_lock_with_an_address_outside_its_channel_is_refused(conda, channel, name, value):
    channel.add(DATA)
    lock = conda.solve("data")
    good = next(one for one in parse(lock).packages if one.name == "data")
    with pytest.raises(EnvironmentFailed, match="outside its channel"):
        conda.build(lock.replace(json.dumps(good.url), json.dumps(value)))


@pytest.mark.parametrize("text", ["{", '{"manylab_conda_lock": 99, "package": []}', '{"manylab_conda_lock": 1}'])
def test_a_damaged_lock_is_refused(conda, text):
    with pytest.raises(EnvironmentFailed, match="lock"):
        conda.build(text)


def test_what_anybody_could_write_is_not_to_be_reached_while_an_environment_is_made(channel, tmp_path, monkeypatch):
    """A file that is opened for writing in that moment stays writable for whoever has it."""
    monkeypatch.setattr("support.channel.MODE", 0o6777)
    channel.add(Package("open", files={"bin/program": b"#!/bin/sh\n", "share/list": b"x"}, depends=("python",)))
    want = Environment("geo", tmp_path / "envs/geo/aaa", "aaa", sys.executable, PYTHON, "")
    want.path.parent.mkdir(parents=True)
    modes: dict[str, int] = {}
    with Server(channel).running() as server:
        site = CondaSite(tmp_path / "site", (server.url,))
        want = dataclasses.replace(want, lock=site.solve("open"))

        def say(line: str) -> None:
            modes[line.split()[1]] = stat.S_IMODE(want.path.stat().st_mode)

        conda_environments.install(want, site.site, say)
    assert modes["linking"] == 0o700
    assert stat.S_IMODE(want.path.stat().st_mode) == 0o755
    assert [path for path in want.path.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6022] == []
