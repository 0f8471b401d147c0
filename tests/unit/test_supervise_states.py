"""States, patience and services.json: no process, no sleep."""

from __future__ import annotations

import itertools
import json
import os

import pytest

from manylab.base.errors import ConfigError, Refused
from manylab.supervise.children import command_of, parse_env_file
from manylab.supervise.definition import DirectorySpec, parse
from manylab.supervise.folders import make_folder
from manylab.supervise.logs import Tail, last_lines, open_log, rotate
from manylab.supervise.states import NEXT, Backoff, IllegalMove, State, move
from manylab.system.namespaces import mount_points

ITEM = {"name": "hub", "argv": ["/bin/true"]}
TOP = {"version": 1, "state": "/run/x", "logs": "/var/log/x"}


def test_every_state_has_its_moves_and_can_be_reached():
    assert set(NEXT) == set(State)
    assert set().union(*NEXT.values()) == set(State)


@pytest.mark.parametrize(("now", "then"), list(itertools.product(State, State)))
def test_only_the_moves_of_the_table_are_made(now, then):
    if then in NEXT[now]:
        assert move(now, then) is then
    else:
        with pytest.raises(IllegalMove):
            move(now, then)


def test_a_service_that_never_starts_is_tried_at_doubling_distances_up_to_half_a_minute():
    backoff, delays = Backoff(), []
    for _ in range(12):
        backoff = backoff.after_exit(lived=0.1, was_ready=False)
        delays.append(round(backoff.delay, 1))
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0, 30.0]


def test_twenty_kills_in_a_row_are_each_mended_within_about_a_second():
    backoff = Backoff()
    for _ in range(20):
        backoff = backoff.after_exit(lived=1.0, was_ready=True)
        assert backoff.delay <= 1.0


def test_dying_for_ever_right_after_being_ready_is_bounded_too():
    backoff, seconds, restarts = Backoff(), 0.0, 0
    while seconds < 3600:
        backoff = backoff.after_exit(lived=0.5, was_ready=True)
        seconds += backoff.delay + 0.5
        restarts += 1
    assert restarts < 250
    for _ in range(100_000):
        backoff = backoff.after_exit(lived=0.5, was_ready=True)
    assert backoff.delay == 30.0


def test_a_minute_of_life_forgives():
    tired = Backoff(9.0)
    assert tired.delay == 30.0
    assert tired.after_exit(lived=61.0, was_ready=True).delay == 0.2


def test_services_json_of_the_contract_is_understood_and_every_problem_is_named():
    definition = parse({**TOP, "services": [ITEM], "directories": [{"path": "/run/x/y", "mode": "2750"}]}, "x")
    assert definition.services[0].ready_timeout == 60.0
    assert definition.directories[0].mode == 0o2750
    bad = {
        **TOP,
        "version": 2,
        "state": "here",
        "services": [{"name": "../x", "argv": ["true"], "colour": 1, "ready_port": 0}],
    }
    with pytest.raises(ConfigError) as error:
        parse(bad, "x")
    assert len(error.value.data["problems"]) == 6


@pytest.mark.parametrize("data", [None, [], "x", {"version": 1, "services": [3]}, {"version": 1, "services": {"a": 1}}])
def test_nonsense_is_a_config_error_and_nothing_else(data):
    with pytest.raises(ConfigError):
        parse(json.loads(json.dumps(data)), "x")


def test_a_revision_or_any_other_field_changes_the_digest():
    def digest(**fields):
        return parse({**TOP, "services": [{**ITEM, **fields}]}, "x").services[0].digest

    assert len({digest(), digest(revision="2"), digest(umask="0077"), digest(argv=["/bin/false"])}) == 4
    assert digest() == digest()


def test_only_what_is_to_be_confined_goes_through_the_helper():
    plain, confined = (
        parse({**TOP, "services": [{**ITEM, **more}]}, "x").services[0] for more in ({}, {"confine": True})
    )
    assert command_of(plain) == ["/bin/true"]
    assert command_of(confined)[-1] == "/bin/true" and "manylab.supervise.confine" in command_of(confined)


def test_an_env_file_has_lines_of_name_and_value():
    assert parse_env_file("# c\n\nA=b=c\nD=\nnonsense\n") == {"A": "b=c", "D": ""}


def test_a_log_is_cut_when_it_grows_while_its_writer_goes_on(tmp_path):
    path = tmp_path / "hub.log"
    fd = open_log(path)
    tail = Tail(path)
    os.write(fd, b"one\ntwo\n")
    assert tail.lines() == ["one", "two"]
    assert not rotate(path, 100) and rotate(path, 5)
    os.write(fd, b"three\n")
    os.close(fd)
    assert path.read_text() == "three\n" and (tmp_path / "hub.log.1").read_text() == "\ntwo\n"
    assert last_lines(path) == ["three"] and tail.lines() == ["three"]


def test_a_link_in_the_place_of_a_log_or_folder_is_not_followed(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(Refused):
        make_folder(DirectorySpec(str(tmp_path / "link"), None, None, 0o700))
    (tmp_path / "x.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        open_log(tmp_path / "x.log")


def test_a_folder_is_made_with_its_mode_whatever_the_umask_and_set_right_when_it_is_there(tmp_path):
    folder = tmp_path / "a"
    for mode in (0o2710, 0o755):
        make_folder(DirectorySpec(str(folder), None, None, mode))
        assert folder.stat().st_mode & 0o7777 == mode


def test_a_folder_below_one_that_everybody_writes_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(Refused):
        make_folder(DirectorySpec(str(tmp_path / "open/a"), None, None, 0o755))


def test_mount_points_with_blanks_are_read_as_the_kernel_writes_them():
    line = r"36 35 98:0 /mnt1 /mnt\040two rw,nosuid,noatime master:1 - ext3 /dev/root rw"
    assert mount_points(line) == [("/mnt two", 2 | 1024)]
