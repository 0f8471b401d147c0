"""The texts that make a site a service of the machine: units, init script, sudoers, profile, PAM, wsl.conf."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from manylab.base.errors import BadName, ConfigError, Refused
from manylab.model import scripts, units
from manylab.model.units import Folder, Program, program_of

ITEMS = [
    {
        "name": "warden",
        "argv": ["/opt/manylab/bin/python", "-I", "-m", "manylab.warden", "/var/lib/manylab/warden.json"],
        "account": None,
        "ready_socket": "/run/manylab/warden/warden.sock",
        "stop_timeout": 10,
        "keeps_children": True,
        "before_stop": {"do": "stop-all"},
        "revision": "abc",
    },
    {
        "name": "proxy",
        "argv": [
            "/opt/manylab/bin/node",
            "/opt/manylab/chp",
            "--error-target",
            "http+unix://%2Frun%2Fhub.sock/hub/error",
        ],
        "account": "manylab-proxy",
        "groups": ["manylab-hub"],
        "env_file": "/var/lib/manylab/proxy/token.env",
        "environment": {"NODE_ENV": "production"},
        "umask": "0007",
        "writable": ["/run/manylab/proxy"],
        "confine": True,
        "capabilities": [],
    },
    {
        "name": "hub",
        "argv": ["/opt/manylab/bin/python", "-I", "-m", "manylab.hub", "/var/lib/manylab/hub.json"],
        "account": "manylab",
        "groups": ["manylab-proxy"],
        "umask": "0077",
        "writable": ["/var/lib/manylab/hub", "/run/manylab/hub"],
        "confine": True,
    },
]
WARDEN, PROXY, HUB = PROGRAMS = [program_of(item, description=f"manylab's {item['name']}") for item in ITEMS]


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("program", [HUB, PROXY], ids=["hub", "proxy"])
def test_what_faces_the_web_has_an_account_no_capability_and_a_read_only_system(program):
    found = settings(units.unit_text(program, [WARDEN]))
    assert found["User"] == [program.account]
    assert found["CapabilityBoundingSet"] == [""] and found["AmbientCapabilities"] == [""]
    assert found["NoNewPrivileges"] == ["yes"] and found["ProtectSystem"] == ["strict"]
    assert found["ProtectHome"] == ["yes"] and found["PrivateTmp"] == ["yes"]
    assert found["ReadWritePaths"] == [" ".join(program.writable)]
    assert "MemoryDenyWriteExecute" not in found  # V8


def test_the_proxy_may_bind_a_low_port_only_when_it_is_given_that():
    low = program_of({**ITEMS[1], "capabilities": ["CAP_NET_BIND_SERVICE"]}, description="proxy")
    found = settings(units.unit_text(low, []))
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]


def test_the_proxys_secret_comes_from_a_file_and_its_address_is_not_expanded():
    text = units.unit_text(PROXY, [WARDEN])
    assert settings(text)["EnvironmentFile"] == ["/var/lib/manylab/proxy/token.env"]
    assert "http+unix://%%2Frun%%2Fhub.sock/hub/error" in text


def test_restarting_a_part_leaves_peoples_servers_alone_and_never_gives_up():
    found = settings(units.unit_text(WARDEN, []))
    assert found["KillMode"] == ["process"] and "User" not in found
    assert "ProtectSystem" not in found and "NoNewPrivileges" not in found  # people's servers would inherit them
    for program in PROGRAMS:
        found = settings(units.unit_text(program, []))
        assert found["Restart"] == ["always"] and found["StartLimitIntervalSec"] == ["0"]
        assert found["PartOf"] == ["manylab.service"]


def test_the_running_revision_can_be_read_from_a_process():
    assert "MANYLAB_REVISION=abc" in settings(units.unit_text(WARDEN, []))["Environment"]


def test_a_text_that_would_add_a_line_to_a_unit_is_refused():
    evil = Program("hub", "hub", ("/bin/true",), environment=(("A", "b\nExecStartPre=/bin/evil"),))
    with pytest.raises(ConfigError):
        units.unit_text(evil, [])
    assert units.quote('a "b" %h $HOME', command=True) == '"a \\"b\\" %%h $$HOME"'


def test_systemd_itself_accepts_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for number, program in enumerate(PROGRAMS):
        # The programs of the example are not there: systemd checks that, so stand in for them.
        text = units.unit_text(program, PROGRAMS[:number])
        (tmp_path / program.unit).write_text(text.replace(f"ExecStart={program.argv[0]} ", "ExecStart=/bin/true "))
    (tmp_path / units.UMBRELLA).write_text(units.umbrella_text(PROGRAMS))
    (tmp_path / units.SLICE).write_text(units.slice_text(1 << 30))
    (tmp_path / units.OUTER_SLICE).write_text(units.outer_slice_text(50))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
    )
    complaints = [line for line in done.stderr.splitlines() if "manylab" in line]
    assert complaints == []


def test_folders_of_run_come_back_after_a_reboot():
    text = units.tmpfiles_text(
        [
            Folder("/run/manylab", None, None, 0o755),
            Folder("/run/manylab/proxy", "manylab-proxy", "manylab-hub", 0o2750),
        ]
    )
    assert 'd "/run/manylab" 0755 root root -\n' in text
    assert 'd "/run/manylab/proxy" 2750 manylab-proxy manylab-hub -\n' in text


# --- the init script, with a stand-in for the supervisor that says what it was asked --------------------------------


@pytest.fixture
def script(tmp_path) -> Path:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit "$(cat {tmp_path}/answer)"\n')
    python.chmod(0o755)
    (tmp_path / "answer").write_text("0")
    (tmp_path / "services.json").write_text("{}")
    script = tmp_path / "manylab"
    script.write_text(
        scripts.init_script_text(
            python=str(python), services_json=str(tmp_path / "services.json"), state="/run/it's here"
        )
    )
    script.chmod(0o755)
    return script


def run(script: Path, *arguments: str, shell: str = "/bin/sh", **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [shell, "-eu", str(script), *arguments], env={}, cwd="/", capture_output=True, text=True, **options
    )


def test_the_init_script_is_posix_shell(script):
    for shell in ("sh", "dash", "bash", "busybox"):
        if shutil.which(shell):
            command = [shell, "sh", "-n"] if shell == "busybox" else [shell, "-n"]
            subprocess.run([*command, str(script)], check=True)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-s", "sh", str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    header = script.read_text().split("### END INIT INFO")[0]
    for field in ("Provides", "Required-Start", "Required-Stop", "Default-Start", "Default-Stop", "Short-Description"):
        assert f"# {field}:" in header


@pytest.mark.skipif(os.geteuid() != 0, reason="an init script is run by root")
@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("start", "--start"),
        ("stop", "--stop"),
        ("restart", "--restart"),
        ("force-reload", "--reload"),
        ("status", "--status"),
    ],
)
def test_the_init_script_asks_the_supervisor(script, action, asked):
    done = run(script, action)
    assert done.returncode == 0, done.stderr
    said = (script.parent / "asked").read_text()
    assert said == f"-I -m manylab.supervise {script.parent}/services.json --state /run/it's here {asked}\n"


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_status_has_the_codes_of_lsb(script, code):
    (script.parent / "answer").write_text(str(code))
    assert run(script, "status").returncode == code


@pytest.mark.skipif(os.geteuid() != 0, reason="an init script is run by root")
def test_a_failed_start_is_a_failure_and_try_restart_of_what_is_stopped_is_not(script):
    (script.parent / "answer").write_text("1")
    assert run(script, "start").returncode == 1
    assert run(script, "try-restart").returncode == 0
    assert "--restart" not in (script.parent / "asked").read_text()


def test_unknown_actions_and_missing_parts_have_codes_of_their_own(script):
    assert run(script).returncode == 2
    assert run(script, "dance").returncode == 3
    (script.parent / "python").unlink()
    assert run(script, "start").returncode == 5
    assert run(script, "status").returncode == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_ordinary_user_may_not_start_it():
    folder = Path(f"/usr/local/share/manylab-test-{os.getpid()}")  # others cannot enter pytest's folders
    folder.mkdir(mode=0o755)
    try:
        script = folder / "manylab"
        script.write_text(scripts.init_script_text(python="/bin/true", services_json=str(script), state="/run/x"))
        assert run(script, "start", user=65534, group=65534, extra_groups=[]).returncode == 4
    finally:
        shutil.rmtree(folder)


# --- small files ----------------------------------------------------------------------------------------------------


def test_the_operator_may_do_four_things_and_nothing_else(tmp_path):
    text = scripts.sudoers_text("jinzhongxu")
    assert text.splitlines()[-1] == (
        "jinzhongxu ALL=(root) NOPASSWD: NOSETENV: /usr/local/bin/manylab start, /usr/local/bin/manylab stop, "
        "/usr/local/bin/manylab restart, /usr/local/bin/manylab status"
    )
    with pytest.raises(BadName):
        scripts.sudoers_text("ALL, root")
    if shutil.which("visudo"):
        path = tmp_path / "sudoers"
        path.write_text(text)
        path.chmod(0o440)
        subprocess.run(["visudo", "-cf", str(path)], check=True, capture_output=True)


def test_pam_asks_the_systems_own_passwords_and_only_for_people():
    assert "@include common-auth" in scripts.pam_text("debian")
    assert "uid >= 500" in scripts.pam_text("debian", 500)
    assert "account include system-auth" in scripts.pam_text("redhat")


def test_pam_opens_the_systems_own_session_after_what_holds_for_every_service():
    lines = scripts.pam_text("debian").splitlines()
    first = ["session optional pam_env.so", "session optional pam_limits.so", "session optional pam_umask.so"]
    assert lines[-5:] == [*first, "session optional pam_env.so envfile=/etc/default/locale", "@include common-session"]
    assert scripts.pam_text("redhat").endswith("session optional pam_umask.so\nsession include system-auth\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[boot]\ncommand = "service manylab start"\n'),
        ("[user]\ndefault=jin\n", '[user]\ndefault=jin\n\n[boot]\ncommand = "service manylab start"\n'),
        (
            "[boot]\n# none\n[user]\ndefault=jin",
            '[boot]\ncommand = "service manylab start"\n# none\n[user]\ndefault=jin\n',
        ),
        ("[boot]\nsystemd=false\n", '[boot]\ncommand = "service manylab start"\nsystemd=false\n'),
        ("[boot]\ncommand=\n", '[boot]\ncommand = "service manylab start"\n'),
        ("[network]\ncommand = x\n", '[network]\ncommand = x\n\n[boot]\ncommand = "service manylab start"\n'),
    ],
)
def test_wsl_conf_gets_a_boot_command_and_keeps_the_rest(before, after):
    assert scripts.wsl_conf(before) == after
    assert scripts.wsl_conf(after) == after
    assert scripts.WSL_COMMAND not in scripts.wsl_conf_without(after)


@pytest.mark.parametrize(
    "text", ["[boot]\nsystemd = true\n", "[boot]\ncommand = service cron start\n", '[Boot]\nCommand="x"']
)
def test_wsl_conf_with_another_command_or_systemd_is_left_alone(text):
    with pytest.raises(Refused):
        scripts.wsl_conf(text)
