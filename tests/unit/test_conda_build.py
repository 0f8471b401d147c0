"""The conda backend against a real channel made here: what it solves, what it builds, what it says.

The channel's Python is a stand-in (`stand_in_python`), because conda's own cannot be had without internet.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from manylab.base.errors import DownloadFailed, EnvironmentFailed
from manylab.model.conda_lock import parse
from support.channel import PLACEHOLDER, PYTHON, Channel, Fault, Link, Package, Server, module, stand_in_python
from support.conda_site import CondaSite, python_says, versions


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    made = Channel(tmp_path / "channel")
    made.add(stand_in_python())
    made.add(module("numbers_of_the_day", "1.0"))
    made.add(module("numbers_of_the_day", "1.4"))
    made.add(module("plots", "3.1", depends=("python", "numbers_of_the_day >=1"), entry_points=("plot = plots:main",)))
    return made


@pytest.fixture
def server(channel: Channel) -> Iterator[Server]:
    with Server(channel).running() as running:
        yield running


@pytest.fixture
def conda(server: Server, tmp_path: Path) -> CondaSite:
    return CondaSite(tmp_path / "site", (server.url,))


def test_a_package_comes_with_what_it_depends_on_and_can_be_imported(conda):
    lock = conda.solve("plots")
    assert versions(lock) == {"numbers_of_the_day": "1.4 0", "plots": "3.1 0", "python": f"{PYTHON}.99 0"}
    prefix = conda.build(lock)
    assert python_says(prefix, "import plots, numbers_of_the_day as n; print(plots.version, n.version)") == "3.1 1.4"
    assert python_says(prefix, "import sys; print(sys.prefix)") == str(prefix)
    done = subprocess.run([prefix / "bin/plot"], capture_output=True, text=True, check=True)
    assert done.stdout == "plots 3.1\n"
    assert any("downloading 3 of 3 packages" in line and "KiB" in line for line in conda.said)


def test_the_lock_has_address_hash_size_and_build_of_everything_and_is_always_the_same_text(conda, server, channel):
    lock = conda.solve("plots")
    for one in parse(lock).packages:
        file = channel.folder / one.subdir / one.file
        assert one.url == f"{server.url}/{one.subdir}/{one.file}"
        assert one.size == file.stat().st_size and len(one.sha256) == 64 and one.build == "0"
    assert conda.solve("plots") == lock == parse(lock).render()


def test_files_know_the_folder_that_they_stand_in_whether_text_or_binary(conda, channel):
    binary = b"\x7fELF\0" + PLACEHOLDER.encode() + b"/share/tool\0after it\0"
    files = {"bin/tool": f"#!/bin/sh\necho {PLACEHOLDER}/share\n".encode(), "lib/libtool.so": binary}
    channel.add(Package("tool", files={**files, "lib/libtool.so.1": Link("libtool.so")}))
    prefix = conda.build(conda.solve("tool"))
    assert (
        subprocess.run([prefix / "bin/tool"], capture_output=True, text=True, check=True).stdout == f"{prefix}/share\n"
    )
    data = (prefix / "lib/libtool.so.1").read_bytes()
    assert len(data) == len(binary) and data.endswith(b"after it\0")
    assert data.startswith(b"\x7fELF\0" + str(prefix).encode() + b"/share/tool\0")


def test_one_build_of_a_version_can_be_chosen_by_its_build_string(conda, channel):
    for build in ("cpu_0", "cuda_1"):
        channel.add(Package("torchlike", "2.1", build, files={"share/which": build.encode()}))
    lock = conda.solve("torchlike=2.1=cpu_*")
    assert versions(lock)["torchlike"] == "2.1 cpu_0"
    assert (conda.build(lock) / "share/which").read_text() == "cpu_0"


def test_the_older_package_format_is_understood(conda, channel):
    channel.add(Package("oldstyle", files={"share/old": b"yes"}), old=True)
    assert (conda.build(conda.solve("oldstyle")) / "share/old").read_bytes() == b"yes"


def test_an_earlier_lock_is_kept_to_unless_it_is_not_given(conda, channel):
    earlier = conda.solve("plots")
    channel.add(module("numbers_of_the_day", "1.5"))
    channel.add(module("extra", "1.0"))
    assert versions(conda.solve("plots", "extra", prefer=earlier))["numbers_of_the_day"] == "1.4 0"
    assert versions(conda.solve("plots", "extra"))["numbers_of_the_day"] == "1.5 0"
    upgraded = conda.solve("plots", "extra", prefer=earlier, upgrade=("numbers_of_the_day",))
    assert versions(upgraded)["numbers_of_the_day"] == "1.5 0"


def test_the_first_channel_that_has_a_package_is_the_only_one_for_it(conda, server, channel, tmp_path):
    other = Channel(tmp_path / "other")
    other.add(module("plots", "99.0"))
    both = CondaSite(tmp_path / "site", (server.url, other.folder.as_uri()))
    assert versions(both.solve("plots"))["plots"] == "3.1 0"
    with pytest.raises(EnvironmentFailed, match="plots"):
        both.solve("plots >=99")


def test_what_this_machine_has_is_known_to_the_solver(conda, channel):
    channel.add(Package("modern", depends=("__glibc >=2.17", "__linux", "__unix")))
    channel.add(Package("future", depends=("__glibc >=99",)))
    conda.solve("modern")
    with pytest.raises(EnvironmentFailed, match="__glibc"):
        conda.solve("future")


def test_a_request_that_cannot_be_met_is_answered_with_the_solver_s_reason(conda, channel):
    channel.add(module("needs_more", depends=("numbers_of_the_day >=7",)))
    with pytest.raises(EnvironmentFailed, match=r"numbers_of_the_day >=7.*no candidates"):
        conda.solve("needs_more")
    with pytest.raises(EnvironmentFailed, match="nowhere"):
        conda.solve("nowhere")
    with pytest.raises(EnvironmentFailed, match="not a package that conda understands"):
        conda.solve("numpy>>2")


def test_python_is_the_one_that_was_asked_for(conda, channel):
    assert parse(conda.solve("plots", python=">=3.10, <4")).python == f"{PYTHON}.99"
    with pytest.raises(EnvironmentFailed, match="python"):
        conda.solve("plots", python="==2.7.*")


def test_a_channel_that_cannot_be_reached_names_the_setting_to_change(conda, tmp_path):
    nobody = CondaSite(tmp_path / "site", ("http://127.0.0.1:9/channel",))
    with pytest.raises(DownloadFailed, match=r"127.0.0.1:9") as caught:
        nobody.solve("plots")
    assert "mirrors.channels" in caught.value.hint and "HTTPS_PROXY" in caught.value.hint


@pytest.mark.parametrize(
    "fault", [Fault(status=404), Fault(status=503), Fault(close_after=50), Fault(damage=True)], ids=str
)
def test_repodata_that_is_missing_or_cut_short_or_damaged_is_a_failed_download(conda, server, fault):
    server.faults["noarch/repodata.json"] = fault
    with pytest.raises(DownloadFailed, match="channel"):
        conda.solve("plots")


def test_a_mirror_stands_in_for_a_channel_and_the_lock_keeps_the_channel_s_own_address(server, tmp_path, channel):
    conda = CondaSite(tmp_path / "site", ("conda-forge",), {"conda-forge": server.url})
    lock = conda.solve("plots")
    assert server.url not in lock
    assert all(one.channel.endswith("/conda-forge") for one in parse(lock).packages)
    prefix = conda.build(lock)
    assert python_says(prefix, "import plots; print(plots.version)") == "3.1"
    said = json.loads((prefix / "conda-meta/plots-3.1-0.json").read_text())
    assert said["channel"].endswith("/conda-forge") and said["url"].endswith("/conda-forge/noarch/plots-3.1-0.conda")


def test_one_mirror_stands_in_for_all_channels_that_are_given_by_name(tmp_path):
    channel = Channel(tmp_path / "web" / "conda-forge")
    channel.add(stand_in_python())
    whole = Server(channel)
    whole.folder = tmp_path / "web"
    with whole.running():
        conda = CondaSite(tmp_path / "site", ("conda-forge",), {"*": whole.url + "/"})
        assert whole.url not in conda.solve()
        assert "conda-forge/noarch/repodata.json" in whole.asked


def test_a_password_of_a_mirror_is_in_no_lock_and_no_message(server, tmp_path):
    secret = server.url.replace("http://", "http://me:s3cret@")
    conda = CondaSite(tmp_path / "site", ("conda-forge",), {"conda-forge": secret})
    lock = conda.solve("plots")
    conda.build(lock)
    server.faults["noarch/repodata.json"] = Fault(status=403)
    with pytest.raises(DownloadFailed) as caught:
        CondaSite(tmp_path / "new", ("conda-forge",), {"conda-forge": secret}).solve("plots")
    assert "s3cret" not in lock + "".join(conda.said) + caught.value.message + caught.value.hint


def test_a_password_in_a_channel_s_address_is_refused(server, tmp_path):
    conda = CondaSite(tmp_path / "site", (server.url.replace("http://", "http://me:s3cret@"),))
    with pytest.raises(EnvironmentFailed) as caught:
        conda.solve("plots")
    assert "s3cret" not in caught.value.message and "mirrors" in caught.value.hint


def test_a_channel_in_a_folder_needs_no_server(channel, tmp_path):
    conda = CondaSite(tmp_path / "site", (channel.folder.as_uri(),))
    assert python_says(conda.build(conda.solve("plots")), "import plots; print('here')") == "here"


def test_what_was_fetched_once_is_not_fetched_again_and_a_build_then_needs_no_network(conda, server):
    lock = conda.solve("plots")
    conda.fetch(lock)
    server.asked.clear()
    first, second = conda.build(lock, "first"), conda.build(lock, "second")
    assert server.asked == []
    readme = f"lib/python{PYTHON}/site-packages/README.txt"
    assert (first / readme).stat().st_ino == (second / readme).stat().st_ino, "two builds share their files"


def test_a_build_can_be_read_by_everybody_whatever_the_umask(conda):
    before = os.umask(0o077)
    try:
        prefix = conda.build(conda.solve("plots"))
    finally:
        os.umask(before)
    assert len(list(prefix.rglob("*"))) > 10
    for path in (prefix, *prefix.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            assert mode & 0o444 == 0o444 and not mode & 0o002, f"{path} {oct(mode)}"


def test_scripts_of_packages_are_not_run_and_named(conda, channel, tmp_path):
    witness = tmp_path / "it ran"
    script = f"#!/bin/sh\ntouch '{witness}'\n".encode()
    files = {f"bin/.scripted-{kind}.sh": script for kind in ("pre-link", "post-link", "pre-unlink")}
    channel.add(Package("scripted", files=files))
    conda.build(conda.solve("scripted"))
    assert not witness.exists()
    assert any("scripted 1.0 comes with" in line and "not run" in line for line in conda.said)


def test_a_package_that_breaks_when_it_is_imported_is_built_all_the_same(conda, channel):
    channel.add(module("broken", code="raise ImportError('its library is missing')"))
    assert "its library is missing" in python_says(conda.build(conda.solve("broken")), "import broken")
