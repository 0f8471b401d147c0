"""install, uninstall, start, stop, restart, enable, disable: the site as a service of the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from manylab.apply import change, health, remove
from manylab.apply.change import Outcome
from manylab.apply.packages import shown_size
from manylab.apply.site import look
from manylab.base import names
from manylab.base.errors import NotInstalled, Refused
from manylab.cli import running_servers
from manylab.cli.app import JsonOption, app, command
from manylab.cli.confirm import confirm
from manylab.cli.context import Context, make_context
from manylab.cli.result import Progress, Result, plural
from manylab.cli.site_commands import LOCK_WAIT, BundleOption, WaitOption, changing, refuse_second, take_bundle
from manylab.model import scripts
from manylab.model.hub import address
from manylab.model.resources import Directory
from manylab.system import accounts, ports, servers
from manylab.system.environments.share import size
from manylab.system.facts import read_installed
from manylab.system.files import make_directory, write_file
from manylab.system.services.base import ServiceManager
from manylab.system.services.managers import detect, is_wsl, manager_for

WSL_CONF = Path("/etc/wsl.conf")


def _root(as_json: bool) -> Context:
    context = make_context(as_json)
    if not context.layout.system:
        raise Refused("a site of one's own is no service of the machine", hint="manylab up serves it; or use sudo")
    context.need_root()
    return context


def _manager(context: Context) -> ServiceManager:
    manager = manager_for(read_installed(context.layout).get("service", ""), context.layout)
    if manager is None:
        raise NotInstalled(
            "manylab is not installed as a service here",
            hint="run 'manylab install', or 'manylab up' to serve in the foreground",
        )
    return manager


def _remember(context: Context, **said: str) -> None:
    known = {**read_installed(context.layout), **said}
    make_directory(Directory(context.layout.state))
    write_file(
        context.layout.installed_json, json.dumps({key: value for key, value in known.items() if value}) + "\n", 0o644
    )


@command(app, "install", example="sudo manylab install --operator jinzhongxu", changes=True)
def install(
    operator: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Let this account start and stop the service through sudo, and nothing else."
        ),
    ] = "",
    wsl_boot: Annotated[
        bool, typer.Option("--wsl-boot", help="On WSL without systemd: start with Windows, by /etc/wsl.conf.")
    ] = False,
    file: BundleOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Build what is missing and make the site a service that starts with the machine: under systemd, else in
    /etc/init.d.
    """
    context = _root(as_json)
    if context.layout.root != Path("/"):
        raise Refused(
            "a site under MANYLAB_ROOT cannot be a service of the machine",
            hint="unset MANYLAB_ROOT, or use 'manylab up'",
        )
    service = detect()
    on_wsl = is_wsl(Path("/proc/sys/kernel/osrelease").read_text(encoding="utf-8"))
    if wsl_boot and not (on_wsl and service == "sysv"):
        raise Refused(
            "--wsl-boot is for WSL without systemd, and this is not",
            hint="leave it out: the service starts with the machine",
        )
    already = read_installed(context.layout)
    if operator:
        _check_operator(operator)
    if not already:
        refuse_second(context)
    take_bundle(context, file, wait)
    if not already:
        config = look(context.layout).config
        ports.check_free(str(config.http.address), config.http.port)

    def act(progress: Progress) -> Outcome:
        wanted = {
            "service": service,
            "operator": operator or already.get("operator", ""),
            "enabled": "yes",
            "started": "yes",
        }
        # Built before it is written down: should a download fail, nothing claims to be installed.
        change.apply_site(look(context.layout), progress.say, start=False, record=False)
        _remember(context, **wanted)
        return change.apply_site(look(context.layout), progress.say, summary=f"install ({service})")

    outcome = changing(context, wait, act)
    url = address(outcome.site.config)
    lines = [
        f"Installed ({'systemd' if service == 'systemd' else '/etc/init.d/manylab'}) and running at {url}",
        "Let somebody in: manylab user add NAME",
    ]
    if service == "sysv" and on_wsl:
        lines.append(_wsl(wsl_boot))
    return Result(
        {"service": service, "url": url, "operator": operator, "changes": len(outcome.changes)}, "\n".join(lines)
    )


def _check_operator(operator: str) -> None:
    person = accounts.find_person(names.account(operator))
    if person is None:
        raise Refused(
            f"there is no account {operator!r} on this machine", hint="make it first: useradd --create-home NAME"
        )
    if not Path("/etc/sudoers.d").is_dir():
        raise Refused(
            "sudo is not installed, so nobody can be given a part of root's power",
            hint="install it (Debian: apt install sudo), then run this again",
        )


def _wsl(wanted: bool) -> str:
    if not wanted:
        return "To start with Windows: manylab install --wsl-boot (adds a [boot] command to /etc/wsl.conf)"
    before = WSL_CONF.read_text(encoding="utf-8") if WSL_CONF.exists() else ""
    after = scripts.wsl_conf(before)
    if after != before:
        write_file(WSL_CONF, after, 0o644)
    return "It starts with Windows: /etc/wsl.conf runs 'service manylab start' at boot."


@command(app, "uninstall", example="sudo manylab uninstall --purge", changes=True)
def uninstall(
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Also remove configuration and state: manylab.toml, the database, generations."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    wait: WaitOption = LOCK_WAIT,
) -> Result:
    """Stop everything and remove what manylab made, and only that. Homes and people's accounts are never touched."""
    context = make_context(as_json)
    if context.layout.system:
        context.need_root("removing it")
    planned = remove.plan(context.layout, purge=purge)
    confirm([_sized(one) for one in planned.deleted], planned.kept, yes=yes)
    with Progress() as progress:
        removed = remove.uninstall(context.layout, purge=purge, wait=wait, say=progress.say)
    lines = [f"Removed: {len(removed)} files, folders and accounts.", *(f"This stays: {one}" for one in planned.kept)]
    return Result({"removed": removed, "kept": list(planned.kept), "purged": purge}, "\n".join(lines))


def _sized(what: str) -> str:
    path = Path(what)
    return f"{what}  {shown_size(size(path))}" if path.is_absolute() and not path.is_symlink() else what


@command(app, "start", example="sudo manylab start", changes=True)
def start(as_json: JsonOption = False) -> Result:
    """Start the service."""
    context = _root(as_json)
    manager = _manager(context)
    config = look(context.layout).config
    if not manager.is_active("manylab"):
        ports.check_free(str(config.http.address), config.http.port)
    manager.start("manylab")
    _remember(context, started="yes")
    health.wait(look(context.layout), change.HEALTHY_WITHIN)
    return Result({"started": True, "url": address(config)}, f"Running at {address(config)}")


@command(app, "stop", example="sudo manylab stop", changes=True)
def stop(as_json: JsonOption = False) -> Result:
    """Stop the service and everybody's servers."""
    context = _root(as_json)
    manager = _manager(context)
    count = servers.stop_all(context.layout.warden_socket)
    manager.stop("manylab")
    _remember(context, started="no")
    return Result({"stopped": True, "servers_stopped": count}, f"Stopped, with {plural(count, 'server')} of people.")


@command(app, "restart", example="sudo manylab restart --servers bob", changes=True)
def restart(
    names_: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="With --servers: whose servers (bob), or which one (bob/exp); without, those that keep old values.",
        ),
    ] = None,
    servers_: Annotated[
        bool, typer.Option("--servers", help="Restart people's servers instead, which ends their kernels.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> Result:
    """Restart hub, proxy and warden. People's servers and kernels go on."""
    if servers_ or names_:
        context = make_context(as_json)
        if context.layout.system:
            context.need_root()
        return running_servers.restart(look(context.layout), names_ or (), yes=yes, as_json=as_json)
    context = _root(as_json)
    _manager(context).restart("manylab")
    _remember(context, started="yes")
    health.wait(look(context.layout), change.HEALTHY_WITHIN)
    return Result({"restarted": True}, "Restarted; people's servers went on.")


@command(app, "enable", example="sudo manylab enable", changes=True)
def enable(as_json: JsonOption = False) -> Result:
    """Start the service with the machine."""
    context = _root(as_json)
    _manager(context).enable("manylab")
    _remember(context, enabled="yes")
    return Result({"enabled": True}, "It starts with the machine.")


@command(app, "disable", example="sudo manylab disable", changes=True)
def disable(as_json: JsonOption = False) -> Result:
    """No longer start the service with the machine. It keeps running now."""
    context = _root(as_json)
    _manager(context).disable("manylab")
    _remember(context, enabled="no")
    return Result({"enabled": False}, "It no longer starts with the machine.")
