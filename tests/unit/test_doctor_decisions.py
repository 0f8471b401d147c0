"""What the checks of `manylab doctor` decide, from what they saw."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from manylab.cli.doctor import (
    environments,
    files,
    homes,
    kernel_specs,
    limits,
    machine,
    network,
    paths,
    people,
    python,
    services,
)
from manylab.cli.doctor.accounts import Shadow, parse_shadow, sign_in
from manylab.cli.doctor.database import judge_revision
from manylab.cli.doctor.machine import GIB, MIB, Disk
from manylab.cli.doctor.paths import Seen
from manylab.cli.look.parts import DEAD, RUNNING, STOPPED, Part, Parts
from manylab.config.load import parse
from manylab.model.resources import File
from manylab.system.ports import Listener, listeners

FOLDER, PROGRAM = stat.S_IFDIR, stat.S_IFREG
TODAY = 20000


def level(finding):
    return finding.level if finding else "ok"


@pytest.mark.parametrize(
    ("free", "size", "expected"),
    [
        (100 * MIB, 100 * GIB, "problem"),
        (1 * GIB, 100 * GIB, "warning"),
        (50 * GIB, 100 * GIB, "ok"),
        (1 * GIB, 4 * GIB, "ok"),
    ],
)
def test_a_disk_is_judged_by_what_an_upgrade_needs(free, size, expected):
    assert level(machine.judge_space(Disk("the state", free, size))) == expected


@pytest.mark.parametrize(
    ("free", "total", "expected"), [(0, 0, "ok"), (5, 1000, "problem"), (40, 1000, "warning"), (500, 1000, "ok")]
)
def test_inodes_run_out_too_unless_there_is_no_fixed_number_of_them(free, total, expected):
    assert level(machine.judge_inodes(Disk("/tmp", 1, 1, free, total))) == expected


def test_little_memory_is_only_a_worry_without_swap():
    assert level(machine.judge_memory(1 * GIB, 0)) == "warning"
    assert level(machine.judge_memory(1 * GIB, 2 * GIB)) == "ok"
    assert level(machine.judge_memory(8 * GIB, 0)) == "ok"


def test_limits_that_the_machine_cannot_hold_are_named():
    config = parse(
        '[servers]\nmemory = "2G"\n[limits.people.alice]\ncpu = 2\ntasks = 200\n[limits.groups.x]\ncpu = "none"'
    )
    assert limits.unenforced(config, {"memory", "cpu", "tasks"}) == []
    assert limits.unenforced(config, {"memory"}) == ["limits.people.alice.cpu"]
    assert limits.unenforced(config, set()) == ["servers.memory", "servers.total_memory", "limits.people.alice.cpu"]


def test_a_site_that_asks_for_no_limit_misses_none():
    config = parse('[servers]\ntotal_memory = "none"')
    assert limits.unenforced(config, set()) == []


def test_a_file_from_the_future_shows_that_the_clock_is_behind():
    times = {Path("a"): 1000.0, Path("b"): 9000.0}
    assert machine.from_the_future(times, 1000.0) == [Path("b")]


def seen(*parts):
    return [Seen(Path(path), mode, uid) for path, mode, uid in parts]


def test_the_first_closed_folder_is_named():
    way = seen(("/", FOLDER | 0o755, 0), ("/root", FOLDER | 0o700, 0), ("/root/x", FOLDER | 0o755, 0))
    assert paths.first_closed(way).path == Path("/root")
    assert paths.first_closed(way[:1]) is None


def test_a_folder_that_others_can_change_is_named_and_a_sticky_one_is_not():
    assert paths.first_writable(seen(("/tmp", FOLDER | 0o1777, 0))) is None
    assert paths.first_writable(seen(("/srv", FOLDER | 0o777, 0))).path == Path("/srv")
    assert paths.first_writable(seen(("/home/eve", FOLDER | 0o755, 1000))).uid == 1000


def test_permission_bits_beyond_the_allowed_are_noticed():
    assert paths.too_open(0o100644, 0o600)
    assert not paths.too_open(0o100400, 0o600)


def test_many_names_are_cut_short():
    assert paths.some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_a_checkout_is_told_from_installed_code():
    assert python.is_checkout(Path("/root/manylab/src/manylab")) == Path("/root/manylab")
    assert python.is_checkout(Path("/opt/env/lib/python3.11/site-packages/manylab")) is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Shadow("a", "$y$hash"), ""),
        (Shadow("a", "!$y$hash"), "locked"),
        (Shadow("a", "!"), "none"),
        (Shadow("a", "!!"), "none"),
        (Shadow("a", "*"), "none"),
        (Shadow("a", ""), "empty"),
        (Shadow("a", "$y$hash", expires=1), "expired"),
        (Shadow("a", "$y$hash", expires=TODAY + 1), ""),
        (Shadow("a", "$y$hash", changed=TODAY - 100, maximum=90), "password-expired"),
        (Shadow("a", "$y$hash", changed=TODAY - 100, maximum=99999), ""),
    ],
)
def test_what_pam_will_say_is_known_from_the_shadow_file(entry, expected):
    assert sign_in(entry, TODAY) == expected


def test_the_shadow_file_is_read_field_by_field():
    found = parse_shadow("alice:$y$x:19000:0:90:7:30:20100:\nbob:!:::::::\n")
    assert found["alice"] == Shadow("alice", "$y$x", 19000, 90, 30, 20100)
    assert found["bob"] == Shadow("bob", "!")


def test_settings_with_secrets_are_known_by_their_declaration():
    assert files.secret_settings(parse("", "x")) == []
    text = '[mirrors]\npypi = "https://user:pass@mirror.example.org/simple"\n'
    assert files.secret_settings(parse(text, "x")) == ["mirrors.pypi"]


def test_a_secret_is_found_by_its_value_and_told_by_its_name():
    assert files.found_in(b"node\0--token\0abcdef0123456789\0", {"the token": "abcdef0123456789"}) == ["the token"]
    assert files.found_in(b"node\0", {"the token": "abcdef0123456789"}) == []


def test_a_changed_pam_file_is_a_problem():
    path = Path("/etc/pam.d/manylab")
    assert files.judge_pam("auth", File(path, "auth", 0o644, "root"), path) is None
    for have in (None, File(path, "auth sufficient", 0o644, "root"), File(path, "auth", 0o666, "root")):
        assert level(files.judge_pam("auth", have, path)) == "problem"


@pytest.mark.parametrize(
    ("mode", "uid", "expected"),
    [
        (PROGRAM | 0o644, 0, (False, False)),
        (PROGRAM | 0o600, 0, (True, False)),
        (PROGRAM | 0o744, 0, (True, False)),
        (FOLDER | 0o754, 0, (True, False)),
        (PROGRAM | 0o664, 0, (False, True)),
        (PROGRAM | 0o644, 1000, (False, True)),
        (stat.S_IFLNK | 0o777, 0, (False, False)),
    ],
)
def test_files_of_an_environment_are_for_everybody_to_read_and_for_root_to_change(mode, uid, expected):
    assert environments.judge_mode(mode, uid, 0) == expected


def test_an_environment_notices_that_python_was_upgraded():
    assert environments.judge_interpreter(["python3.11"], "3.11") == ""
    assert "Python 3.11 and its interpreter is now Python 3.13" in environments.judge_interpreter(
        ["python3.11"], "3.13"
    )


def test_a_kernel_whose_program_is_gone_is_broken(tmp_path):
    for name, text in {"dead": '{"argv": ["/gone/python"]}', "odd": "[", "live": '{"argv": ["/bin/sh"]}'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "kernel.json").write_text(text)
    (tmp_path / "empty").mkdir()
    assert [path.parent.name for path, _ in kernel_specs.broken_specs(tmp_path)] == ["dead", "odd"]


def test_a_kernel_json_that_is_a_link_is_not_read(tmp_path):
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "kernel.json").symlink_to("/etc/shadow")
    assert list(kernel_specs.broken_specs(tmp_path)) == []


def test_a_folder_s_name_cannot_smuggle_a_command_into_what_root_is_told_to_run(tmp_path, monkeypatch):
    trap = tmp_path / ".local/share/jupyter/kernels/x; reboot"
    trap.mkdir(parents=True)
    (trap / "kernel.json").write_text('{"argv": ["/gone/python"]}')
    monkeypatch.setattr(people, "_with_root", lambda scene: [("eve", homes.of(homes.look_at(tmp_path)))])
    (found,) = people.kernel_broken_home(None)
    assert found.mend == f"sudo -u eve rm -r '{trap}'"


def test_a_database_of_a_later_jupyterhub_is_recognized():
    assert judge_revision(["aaa"], ["aaa", "bbb"]) == ""
    assert "zzz" in judge_revision(["zzz"], ["aaa", "bbb"])
    assert judge_revision(["zzz"], []) == ""


def parts(code, *states):
    return Parts(code, "x", "systemd", tuple(Part(f"p{n}", state) for n, state in enumerate(states)))


def test_parts_that_should_run_and_do_not_are_problems():
    assert services.judge_parts(parts(RUNNING, "running", "active")) == []
    assert [one.level for one in services.judge_parts(parts(RUNNING, "running", "backoff"))] == ["problem"]
    assert [one.level for one in services.judge_parts(parts(DEAD))] == ["problem"]
    assert services.judge_parts(parts(STOPPED, "stopped")) == []


def test_a_part_that_is_started_again_and_again_is_a_warning():
    often = Parts(RUNNING, "", "supervisor", (Part("hub", "running", 7, 0.0, 9),))
    assert [one.level for one in services.judge_parts(often)] == ["warning"]


def test_what_a_known_server_started_is_no_orphan():
    marks = {10: "one", 11: "one", 20: "two", 21: "two"}
    assert services.orphans(marks, {"one"}) == [20, 21]
    assert services.orphans(marks, {"one", "two"}) == []


def test_every_running_server_needs_a_route():
    servers = [{"user": "alice", "server": ""}, {"user": "bob", "server": "gpu"}]
    assert network.missing_routes(["/", "/wsl/user/alice/", "/wsl/user/bob/gpu"], servers) == []
    assert network.missing_routes(["/", "/user/alice"], servers) == ["/user/bob/gpu"]
    assert network.missing_routes([], []) == ["/"]


def test_with_subdomains_a_route_begins_with_a_host_and_the_hub_has_the_one_for_all():
    servers = [{"user": "alice", "server": ""}]
    have = ["/", "/alice.lab.example.org/wsl/user/alice/"]
    assert network.missing_routes(have, servers) == []
    assert network.missing_routes(have[1:], servers) == ["/"]


def test_a_persons_program_on_the_sites_port_is_named_at_whichever_address_it_is():
    proxy = Listener("127.0.0.1", 10, "node", 990)
    evil, nginx = Listener("::1", 66, "python3", 1001), Listener("192.0.2.1", 11, "nginx", 0)
    assert list(network.judge_port([proxy, nginx], 8000, 10, 1000)) == []
    [found] = network.judge_port([proxy, nginx, evil], 8000, 10, 1000)
    assert found.level == "problem" and "port 8000 of ::1 is used by python3 (pid 66, uid 1001)" in found.what
    [found] = network.judge_port([evil], 8000, 10, 1000)
    assert found.what == "port 8000 is used by python3 (pid 66), not by the site's proxy"
    assert list(network.judge_port([], 8000, 10, 1000)) == []
    # An ordinary user is not told whose it is.
    [found] = network.judge_port([Listener("127.0.0.1")], 8000, 10, 1000)
    assert found.what == "port 8000 is used by another program, not by the site's proxy"


def test_whoever_listens_on_a_port_is_found_at_every_address():
    with socket.socket() as one, socket.socket(socket.AF_INET6) as other:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::1", port))
        one.listen()
        other.listen()
        found = listeners(port)
    assert {(each.address, each.pid, each.uid) for each in found} == {
        (address, os.getpid(), os.getuid()) for address in ("127.0.0.1", "::1")
    }


@pytest.mark.parametrize(
    ("mode", "owner", "usable", "wrong", "severe"),
    [
        (0o700, 1000, True, False, False),
        (0o755, 0, False, True, True),
        (0o770, 0, True, False, False),  # by an access list, whose mask the mode shows as the group's
        (0o500, 1000, False, True, True),
        (0o777, 1000, True, True, False),
    ],
)
def test_a_home_is_judged_by_what_its_person_may_do_there(mode, owner, usable, wrong, severe):
    said, found = people.judge_home(FOLDER | mode, owner, 1000, usable)
    assert (bool(said), found) == (wrong, severe)


def test_all_of_a_home_survives_being_told_in_json(tmp_path):
    (tmp_path / ".ipython/profile_default/startup").mkdir(parents=True)
    (tmp_path / ".ipython/profile_default/startup/00-x.py").touch()
    (tmp_path / ".bashrc").write_text("export PYTHONPATH=/x\n")
    home = homes.of(json.loads(json.dumps(homes.look_at(tmp_path))))
    assert home.there and home.usable and home.owner == os.getuid()
    assert [Path(path).name for path in home.startup] == ["00-x.py"]
    assert list(home.dotfiles) == [[f"{tmp_path}/.bashrc", ["PYTHONPATH"]]]
    assert homes.of(homes.look_at(tmp_path / "gone")) == homes.Home()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("export PYTHONPATH=/x", ["PYTHONPATH"]),
        ("# export PYTHONPATH=/x", []),
        ("# >>> conda initialize >>>", ["conda"]),
        (". /opt/conda/etc/profile.d/conda.sh", ["conda"]),
        ("JUPYTER_PATH=/x jupyter lab", ["JUPYTER_*"]),
        ("alias ll='ls -l'", []),
    ],
)
def test_lines_of_a_dotfile_that_change_a_terminal_s_python_are_recognized(line, expected):
    assert homes.shell_lines(f"# first\n{line}\n") == expected
