"""Every setting of manylab.toml, declared once: its type, its default and what it means.

The checks, `config show`, the example file, docs/reference/settings.md and the JSON Schema are all made from these
declarations. A default is written as it would be in the file ("2G"); the attribute has the program's form (bytes).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from manylab.config import kinds, mirror_sets
from manylab.config.addresses import is_loopback
from manylab.config.environments import Env, Environments
from manylab.config.kinds import Kind, thaw
from manylab.config.limits import Limits
from manylab.config.mirror_sets import MirrorSet
from manylab.config.table import Table, section, setting


class Site(Table):
    """The site as its people see it."""

    zh = "站点：名称与界面语言"

    name: kinds.Line = setting("manylab", doc="Name of the site, shown on the sign-in page.", example="Physics lab")
    language: Literal["auto", "en", "zh_CN"] = setting(
        "auto",
        doc="Language of the Lab and of the sign-in page; auto takes that of each browser, English where there is "
        "neither. What a person chooses in the Lab (Settings > Language) wins there. Further languages of the Lab are "
        "packages (jupyterlab-language-pack-de-DE) of servers.packages.",
        example="zh_CN",
        counts="server",
    )


class Http(Table):
    """Where the site is served."""

    zh = "网址：监听地址、端口与路径前缀"

    address: kinds.Host = setting(
        "127.0.0.1",
        doc="Address to listen on. Any other than a loopback address also needs [https], or insecure = true.",
        example="0.0.0.0",  # noqa: S104  an example, not a socket
    )
    port: Annotated[int, Kind("a whole number, 1 to 65535"), Field(ge=1, le=65535)] = setting(
        8000, doc="TCP port to listen on, also for https.", example=443
    )
    base_url: kinds.BaseUrl = setting(
        "/", doc="Path under which the whole site is served.", example="/wsl", counts="address"
    )
    insecure: bool = setting(
        False,
        doc="Serve plain http on an address that others can reach. Passwords then cross the network in the clear: "
        "only behind a proxy that speaks https, or on a network you trust.",
    )
    public_url: kinds.Web = setting(
        "",
        doc="The address that people type, where it is not the one above: behind another web server.",
        example="https://lab.example.org",
        counts="address",
    )
    subdomains: bool = setting(
        False,
        doc="Give each person's server a name of its own below public_url's (alice.lab.example.org), so that browsers "
        "keep people's pages apart too. Needs a wildcard in the DNS and in the certificate.",
        counts="address",
    )

    @property
    def public_host(self) -> str:
        """Scheme, name and port of public_url; "" when there is none."""
        return self.public_url and "{0.scheme}://{0.netloc}".format(urlsplit(self.public_url))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the site."""
        return is_loopback(self.address)


class Https(Table):
    """TLS by certificate files; both or neither."""

    zh = "HTTPS 证书（两项须同时填写）"

    certificate: kinds.File = setting(
        "",
        doc="The certificate with its chain, PEM.",
        example="/etc/letsencrypt/live/lab.example.org/fullchain.pem",
    )
    key: kinds.File = setting(
        "",
        doc="The private key of the certificate, PEM, without a passphrase.",
        example="/etc/letsencrypt/live/lab.example.org/privkey.pem",
    )

    @property
    def enabled(self) -> bool:
        return bool(self.certificate and self.key)


class People(Table):
    """Who may sign in, and how."""

    zh = "用户：登录方式、用户组与管理员"

    authenticator: kinds.Authenticator = setting(
        "pam",
        doc="How people prove who they are; pam asks for the password of their account on this machine. dummy (any "
        "password) only works on a loopback address.",
        example="github",
    )
    group: kinds.Group = setting(
        "manylab",
        doc="Members of this group may sign in; leaving it ends a person's servers and tokens.",
        example="students",
    )
    admins: kinds.Accounts = setting(
        [],
        doc="People who may see all members on the hub's admin page, and start and stop their servers. They must be "
        "members of the group too.",
        example=["jinzhongxu"],
    )
    admin_access: bool = setting(
        False, doc="Let admins open other people's servers, and with them their files. Every use is logged."
    )


class Servers(Table):
    """Each person's JupyterLab server."""

    zh = "服务器：启动方式、资源限制与空闲回收"

    start: Literal["warm", "cold"] = setting(
        "warm",
        doc="warm forks a server from a process that has everything imported; cold starts a new "
        "interpreter, which takes some seconds and more memory. Where warm cannot be had, a server starts cold.",
        example="cold",
        counts="server",
    )
    memory: kinds.Memory = setting(
        "none",
        doc="Memory that one server with its kernels may use; beyond it, the kernel that takes most is ended. No limit "
        "unless set: how much is right depends on the machine and its people.",
        example="2G",
        counts="server",
    )
    total_memory: kinds.TotalMemory = setting(
        "auto",
        doc="Memory that all servers together may use, so that the machine itself goes on; auto keeps a tenth of the "
        "machine's memory for it, at least 512M and at most 4G.",
        example="24G",
    )
    cpu: kinds.Cpu = setting(
        "none", doc="Processors that one server with its kernels may use.", example=2.0, counts="server"
    )
    tasks: kinds.Tasks = setting(
        4096,
        doc="Processes and threads that one server may have: a fork bomb stays in its cage.",
        example=1000,
        counts="server",
    )
    private_tmp: bool = setting(
        True,
        doc="Give each person a /tmp, /var/tmp and /dev/shm of their own, that nobody else sees. Emptied at each boot; "
        "what they put into /tmp over ssh is not there.",
        counts="server",
    )
    idle_timeout: kinds.IdleTimeout = setting(
        "never",
        doc="Stop a server that was not used for so long. Use is a kernel or a terminal's program that runs, and what "
        "people do (run, save, type, open a page); a tab that is only left open is none. Never unless set: a stopped "
        "server loses what its kernels hold in memory. Its owner is told why.",
        example="12h",
    )
    trash: kinds.TrashAge = setting(
        "30d",
        doc="How long what people delete in the Lab stays in the trash in their home (~/.local/share/Trash), from "
        'where `manylab trash restore` brings it back. "0s": no trash, it is gone at once. "never": it stays.',
        example="7d",
        counts="server",
    )
    named: bool = setting(False, doc="Let people start further servers with a name of their choice.")
    named_limit: Annotated[int, Kind("a whole number, 1 to 1000"), Field(ge=1, le=1000)] = setting(
        5, doc="How many named servers one person may have.", example=2
    )
    start_timeout: kinds.StartTimeout = setting(
        "2m", doc="How long a server may take to answer before its start counts as failed.", example="60s"
    )
    default_url: kinds.Page = setting(
        "/lab", doc="The page people arrive at.", example="/lab/tree/welcome.ipynb", counts="server"
    )
    packages: kinds.Packages = setting(
        [],
        doc="Further packages in the environment of everybody's JupyterLab: its extensions. `manylab env add server` "
        "adds them, tried before anybody gets them.",
        example=["jupyterlab-spreadsheet-editor"],
        counts="server",
    )
    collaboration: bool = setting(
        False,
        doc="Let people who share a server edit a document at the same time (jupyter-collaboration).",
        counts="server",
    )
    environment: kinds.Variables = setting(
        {},
        doc="Environment variables of every server, its kernels and terminals. Everybody can read them.",
        example={"OMP_NUM_THREADS": "2"},
        counts="server",
    )


class Hub(Table):
    """The hub itself."""

    zh = "Hub：数据库、附加软件包与日志"

    db_url: kinds.Database = setting(
        "",
        doc="The hub's database: empty for SQLite in the state folder, else SQLAlchemy's URL, whose driver goes into "
        "hub.packages.",
        example="postgresql+psycopg://manylab@localhost/manylab",
        secret=True,
    )
    packages: kinds.Packages = setting(
        [],
        doc="Further packages in the hub's own environment, for authenticators and databases.",
        example=["psycopg[binary]"],
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", doc="How much the hub, the proxy and the warden write to the log.", example="DEBUG"
    )
    members_check: kinds.MembersCheck = setting(
        "5s", doc="How often the members of the group are compared with who is signed in.", example="30s"
    )


class Mirrors(Table):
    """Where packages come from. Empty: the usual variables (PIP_INDEX_URL, HTTPS_PROXY...), or the public places."""

    zh = "镜像与代理：留空则使用系统环境变量"

    preset: Literal["none", "china"] = setting(
        "none",
        doc="A ready-made set; the settings below win over it. china: TUNA for Python packages and conda's channels, "
        "npmmirror for npm.",
        example="china",
    )
    pypi: kinds.Index = setting(
        "", doc="Index of Python packages.", example="https://mirror.example.org/simple", secret=True
    )
    npm: kinds.Web = setting("", doc="Registry of npm packages.", example="https://npm.example.org/", secret=True)
    conda: kinds.Index = setting(
        "",
        doc="Where conda's named channels are found, each in a folder of its name.",
        example="https://mirror.example.org/conda",
        secret=True,
    )
    channels: kinds.ChannelMirrors = setting(
        {},
        doc="Where single channels are found: by name or address.",
        example={"bioconda": "https://mirror.example.org/bioconda"},
        secret=True,
    )
    proxy: kinds.WebProxy = setting(
        "", doc="Proxy through which everything is downloaded.", example="http://proxy.example.org:3128", secret=True
    )
    ca_bundle: kinds.File = setting(
        "", doc="Certificate authorities to trust, PEM.", example="/etc/ssl/certs/company.pem"
    )

    @property
    def chosen(self) -> MirrorSet:
        """Index, registry and channels, "" for each that is left to the tools."""
        ready = mirror_sets.SETS.get(self.preset, MirrorSet("", "", ""))
        return MirrorSet(str(self.pypi) or ready.pypi, str(self.npm) or ready.npm, str(self.conda) or ready.conda)


class Config(Table):
    """manylab.toml: what a site should be. The empty file is a working site."""

    site: Site = section(Site)
    http: Http = section(Http)
    https: Https = section(Https)
    people: People = section(People)
    servers: Servers = section(Servers)
    limits: Limits = section(Limits)
    envs: Environments = setting({}, doc="Environments for kernels and terminals, one table each.")
    env: Env = section(Env)
    hub: Hub = section(Hub)
    mirrors: Mirrors = section(Mirrors)
    jupyterhub: kinds.Traits = setting(
        {},
        doc="The way out: any JupyterHub setting by its own name.",
        example={"JupyterHub.concurrent_spawn_limit": 50},
        secret=True,
    )

    def as_data(self) -> dict[str, Any]:
        """Every setting in the form of the file, defaults included: what JSON takes, and equal for equal sites."""
        data: dict[str, Any] = self.model_dump(mode="json")
        return data

    def traits(self) -> dict[str, Any]:
        """[jupyterhub] as plain dictionaries and lists."""
        plain: dict[str, Any] = thaw(self.jupyterhub)
        return plain
