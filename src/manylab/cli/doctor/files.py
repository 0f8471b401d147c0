"""Configuration, secrets and rendered files: in order, private, and nowhere else."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from manylab.apply.change import plan_changes
from manylab.apply.site import config_text
from manylab.base.errors import ManylabError
from manylab.cli.doctor.paths import some, too_open
from manylab.cli.doctor.scene import COOKIE_SECRET, PROXY_TOKEN, Scene, Skip
from manylab.cli.doctor.table import Finding, check, problem, warning
from manylab.cli.look import processes
from manylab.config import walk
from manylab.config.load import parse
from manylab.config.schema import Config
from manylab.model import scripts
from manylab.model.resources import File
from manylab.system.files import observe_file
from manylab.system.run import run

# Of each log; a token that was written once is written again.
_LOG_PART = 32 << 20
_JOURNAL_LINES = 20000


@check(
    "config-wrong",
    "manylab.toml is in order",
    why="A file with mistakes cannot be applied; the site goes on as it was last applied.",
    mend="correct the file, then: sudo manylab config check && sudo manylab apply",
)
def config_wrong(scene: Scene) -> Iterator[Finding]:
    if scene.layout.system:
        scene.need_root()
    try:
        parse(config_text(scene.layout), str(scene.layout.config_file))
    except ManylabError as error:
        for line in error.message.splitlines():
            yield problem(line)


def secret_settings(config: Config) -> list[str]:
    """Settings with a value that are not for everybody's eyes. Pure."""
    data = config.as_data()
    found = []
    for setting in walk.settings():
        value = data
        for part in setting.path:
            value = value.get(part, {}) if isinstance(value, Mapping) else {}
        if setting.secret and value not in ("", {}, None):
            found.append(setting.key)
    return sorted({*found, *(["jupyterhub"] if data.get("jupyterhub") else [])})


@check(
    "config-readable",
    "manylab.toml with secrets in it is for root alone",
    why="Passwords of databases and client secrets of sign-in services are in it; whoever reads it can use them.",
    mend="sudo chmod 600 /etc/manylab/manylab.toml",
)
def config_readable(scene: Scene) -> Iterator[Finding]:
    path = scene.layout.config_file
    config = scene.config
    if not path.exists():
        raise Skip("there is no manylab.toml yet")
    held = secret_settings(config)
    if held and too_open(path.stat().st_mode, 0o600):
        yield problem(f"others can read {path}, which holds {some(held)}", f"sudo chmod 600 {path}")


def private_files(scene: Scene) -> dict[Path, int]:
    """Everything that holds a secret, with the most that its permission bits may be."""
    layout = scene.layout
    found = dict.fromkeys(
        (
            layout.cookie_secret,
            layout.hub_proxy_token,
            layout.proxy_token_env,
            layout.warden_json,
            layout.services_json,
            layout.proxy_state / "key.pem",
        ),
        384,
    )
    found |= dict.fromkeys(layout.hub_state.glob("jupyterhub.sqlite*"), 384)
    found |= dict.fromkeys((layout.hub_json,), 416)
    found |= dict.fromkeys((layout.hub_state, layout.proxy_state, layout.generations, layout.registry), 448)
    return found


@check(
    "secrets-readable",
    "Keys, tokens and the database can only be read by those who need them",
    why="With the cookie secret or the proxy's token anybody on this machine could be anybody on the site.",
    mend="sudo manylab apply",
)
def secrets_readable(scene: Scene) -> Iterator[Finding]:
    scene.need_site()
    if scene.layout.system:
        scene.need_root()
    closed = {
        folder
        for folder, mode in private_files(scene).items()
        if mode == 0o700 and folder.is_dir() and not too_open(folder.stat().st_mode, mode)
    }
    for path, allowed in private_files(scene).items():
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISSOCK(status.st_mode) or not too_open(status.st_mode, allowed):
            continue
        text = f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, at most {allowed:04o} is right"
        # In a folder that nobody can enter it is only untidy.
        mend = f"sudo chmod {allowed:o} {path}"
        yield warning(text, mend) if path.parent in closed else problem(text, mend)


def found_in(text: bytes, secrets: Mapping[str, str]) -> list[str]:
    """Names of the secrets that are in a text. Pure."""
    return [name for name, value in secrets.items() if value.encode() in text]


def renewal(name: str) -> str:
    """How a secret that others may have seen is replaced. Pure."""
    again = "&& sudo manylab apply && sudo manylab restart"
    if name == PROXY_TOKEN:
        return f"sudo rm /var/lib/manylab/hub/proxy_token /var/lib/manylab/proxy/token.env {again}"
    if name == COOKIE_SECRET:
        return f"sudo rm /var/lib/manylab/hub/cookie_secret {again} (everybody signs in again)"
    return "let that person stop and start the server: File > Hub Control Panel"


@check(
    "secrets-in-argv",
    "No process has a secret among its arguments",
    why="Every account of this machine can read the arguments of every process.",
    mend="end that process, then make a new secret",
)
def secrets_in_argv(scene: Scene) -> Iterator[Finding]:
    secrets = scene.secrets
    if not secrets:
        raise Skip("there are no secrets yet")
    for pid in processes.pids():
        for name in found_in(processes.command_line(pid), secrets):
            yield problem(
                f"{name} is among the arguments of process {pid}", f"sudo kill {pid}; a new secret: {renewal(name)}"
            )


@check(
    "secrets-in-logs",
    "No log has a secret in it",
    why="Logs are read by more people than secrets are for, and are sent to others when something is wrong.",
    mend="remove the line from the log, then make a new secret",
)
def secrets_in_logs(scene: Scene) -> Iterator[Finding]:
    secrets = scene.secrets
    if not secrets:
        raise Skip("there are no secrets yet")
    for name, text in _logs(scene):
        for secret in found_in(text, secrets):
            yield problem(f"{secret} is in {name}", f"remove the line there; a new secret: {renewal(secret)}")


def _logs(scene: Scene) -> Iterator[tuple[str, bytes]]:
    """The end of every log file of ours, and of the journal."""
    for path in sorted(scene.layout.logs.glob("*.log*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _LOG_PART))
                yield str(path), file.read()
    if scene.installed.get("service") == "systemd":
        said = run(
            ["journalctl", "--unit=manylab*", f"--lines={_JOURNAL_LINES}", "--output=cat", "--no-pager"],
            timeout=30,
            check=False,
        )
        yield "the journal", said.out.encode()


def judge_pam(want: str, have: File | None, path: Path) -> Finding | None:
    """Pure."""
    if have is None:
        return problem(f"{path} is missing")
    if have.content != want:
        return problem(f"{path} is not what manylab wrote")
    if have.mode & 0o022 or have.owner != "root":
        return problem(f"{path} can be changed by others (owner {have.owner}, mode {have.mode:04o})")
    return None


@check(
    "pam-changed",
    "The PAM file is there and as manylab wrote it",
    why=(
        "It decides whose password is right. Without it PAM falls back to `other`, which refuses everybody; "
        "changed, it may let in anybody."
    ),
    mend="sudo manylab apply",
)
def pam_changed(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    scene.need_site()
    if str(scene.config.people.authenticator) != "pam":
        raise Skip("people do not sign in with passwords of this machine")
    path, facts = scene.layout.pam_file, scene.site.facts
    want = next((item.content for item in scene.site.resources if isinstance(item, File) and item.path == path), None)
    have = observe_file(path)
    found = judge_pam(
        want or scripts.pam_text(facts.pam_style, facts.min_uid), have if isinstance(have, File) else None, path
    )
    if found:
        yield found


@check(
    "drift",
    "The machine is as manylab.toml says",
    why=(
        "What was changed by hand, or set and not applied, is lost or takes effect with the next `apply`, perhaps "
        "when nobody expects it."
    ),
    mend="sudo manylab plan, to see it; sudo manylab apply, to make it so",
)
def drift(scene: Scene) -> Iterator[Finding]:
    scene.need_site()
    changes = [f"{change.action} {change.key}" for change in plan_changes(scene.site)]
    if changes:
        yield warning(f"apply would make {len(changes)} changes: {some(changes)}")


def old_recipe(paths: Iterable[Path]) -> list[Path]:
    """Those of the paths that are there."""
    return [path for path in paths if path.exists() or path.is_symlink()]


OLD_RECIPE = (
    "etc/init.d/jupyterhub",
    "etc/systemd/system/jupyterhub.service",
    "lib/systemd/system/jupyterhub.service",
    "etc/jupyterhub",
    "etc/systemd/system/tljh.service",
    "opt/tljh",
)


@check(
    "old-recipe",
    "No other JupyterHub is installed",
    why=(
        "One from an earlier recipe takes the same port at the next boot, or lets people into a server that nobody "
        "looks after."
    ),
    mend=(
        "stop it and take it away: sudo systemctl disable --now jupyterhub, or sudo update-rc.d jupyterhub remove; "
        "then remove these files"
    ),
)
def other_hub(scene: Scene) -> Iterator[Finding]:
    scene.need_system()
    for path in old_recipe(scene.layout.root / name for name in OLD_RECIPE):
        yield warning(f"{path} is there")
    ours = str(scene.layout.program).encode()
    for pid in processes.pids():
        line = processes.command_line(pid)
        words = [word.rpartition(b"/")[2] for word in line.split(b"\0")[:2]]
        if (b"jupyterhub" in words or b"configurable-http-proxy" in words) and ours not in line:
            yield warning(f"process {pid} is another {words[-1].decode(errors='replace')}", f"sudo kill {pid}")
