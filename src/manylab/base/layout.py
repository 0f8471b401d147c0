"""Every path of a site, derived from one root. Pure: nothing here looks at the disk or the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from manylab.base import names


@dataclass(frozen=True)
class Layout:
    """Where everything of one site is.

    system: True when root owns the site and serves everybody, False when one ordinary user serves themselves.
    root: "/" or the folder of MANYLAB_ROOT, below which all of `machine` lives.
    config, program, state, run, logs: the five folders of DESIGN's table.
    """

    system: bool
    root: Path
    config: Path
    program: Path
    state: Path
    run: Path
    logs: Path

    # configuration
    @property
    def config_file(self) -> Path:
        return self.config / "manylab.toml"

    # program
    @property
    def envs(self) -> Path:
        return self.program / "envs"

    def env(self, name: str) -> Path:
        """The folder that holds every generation of an environment."""
        return self.envs / name

    def env_current(self, name: str) -> Path:
        """The link to the generation of an environment that is in use."""
        return self.env(name) / "current"

    @property
    def cache(self) -> Path:
        """Downloads and unpacked packages; on the file system of the environments, so that they can be hard links."""
        return self.program / "cache"

    @property
    def proxy_pages(self) -> Path:
        """What the proxy itself shows, when neither a server nor the hub answers."""
        return self.program / "etc" / "proxy"

    @property
    def jupyter_config(self) -> Path:
        """Configuration that every person's server reads (JUPYTER_CONFIG_DIR); only the site's owner writes it."""
        return self.program / "etc" / "jupyter"

    @property
    def jupyter_data(self) -> Path:
        """Kernel specs of the site (first on JUPYTER_PATH)."""
        return self.program / "share" / "jupyter"

    @property
    def jupyter_labextensions(self) -> Path:
        """What the Lab of everybody shows beside the extensions of the server environment: widgets of environments."""
        return self.jupyter_data / "labextensions"

    # state
    @property
    def generations(self) -> Path:
        return self.state / "generations"

    @property
    def rendered(self) -> Path:
        """What the hub, the warden and the supervisor read: hub.json, warden.json, services.json."""
        return self.state / "rendered"

    @property
    def hub_json(self) -> Path:
        return self.rendered / "hub.json"

    @property
    def warden_json(self) -> Path:
        return self.rendered / "warden.json"

    @property
    def services_json(self) -> Path:
        return self.rendered / "services.json"

    @property
    def hub_state(self) -> Path:
        """The hub's own folder, 0700: database, cookie secret, its copy of the proxy's token."""
        return self.state / "hub"

    @property
    def hub_database(self) -> Path:
        return self.hub_state / "jupyterhub.sqlite"

    @property
    def cookie_secret(self) -> Path:
        return self.hub_state / "cookie_secret"

    @property
    def hub_proxy_token(self) -> Path:
        return self.hub_state / "proxy_token"

    @property
    def proxy_state(self) -> Path:
        """The proxy's own folder, 0700: its token and, with TLS, its certificate and key."""
        return self.state / "proxy"

    @property
    def proxy_token_env(self) -> Path:
        """One line, CONFIGPROXY_AUTH_TOKEN=..., read by systemd (EnvironmentFile=) or the supervisor."""
        return self.proxy_state / "token.env"

    @property
    def pythons(self) -> Path:
        """Pythons that were downloaded because the machine has none that an environment asks for."""
        return self.program / "pythons"

    @property
    def built_wheels(self) -> Path:
        """Wheels that were built here from source; locks have their hashes."""
        return self.state / "wheels"

    @property
    def env_locks(self) -> Path:
        """Solved locks of environments whose packages are the site's own choice, one folder an environment."""
        return self.state / "locks"

    @property
    def installed_json(self) -> Path:
        """How the site is installed as a service: {"service": "systemd" | "sysv", ...}; absent when it is not."""
        return self.state / "installed.json"

    @property
    def made_json(self) -> Path:
        """Which accounts and groups manylab made, for uninstall; those that were there before are not in it."""
        return self.state / "made.json"

    @property
    def private(self) -> Path:
        """What people find at /tmp, /var/tmp: BOOT/UID/ for each, and BOOT/`private_record(UID)`; anew at each boot."""
        return self.state / "tmp"

    # run
    @property
    def apply_lock(self) -> Path:
        return self.run / "apply.lock"

    @property
    def hub_run(self) -> Path:
        return self.run / "hub"

    @property
    def hub_socket(self) -> Path:
        return self.hub_run / "hub.sock"

    @property
    def proxy_run(self) -> Path:
        return self.run / "proxy"

    @property
    def proxy_api_socket(self) -> Path:
        return self.proxy_run / "api.sock"

    @property
    def warden_run(self) -> Path:
        return self.run / "warden"

    @property
    def warden_socket(self) -> Path:
        return self.warden_run / "warden.sock"

    @property
    def registry(self) -> Path:
        """What the warden remembers of running servers, one JSON file each, 0700; survives the warden."""
        return self.warden_run / "registry"

    @property
    def nursery_run(self) -> Path:
        """Sockets of the nurseries, one for each environment that has one, and the servers'."""
        return self.run / "nursery"

    @property
    def supervisor_run(self) -> Path:
        return self.run / "supervisor"

    @property
    def servers_run(self) -> Path:
        return self.run / "servers"

    def server_run(self, person: str, server: str) -> Path:
        """The folder of one running server: its socket `server.sock` and its runtime files."""
        return self.servers_run / names.folder(person) / names.server_folder(server)

    # the machine's own folders (only written as root)
    @property
    def systemd_units(self) -> Path:
        return self.root / "etc/systemd/system"

    @property
    def tmpfiles_file(self) -> Path:
        return self.root / "etc/tmpfiles.d/manylab.conf"

    @property
    def init_script(self) -> Path:
        return self.root / "etc/init.d/manylab"

    @property
    def pam_file(self) -> Path:
        return self.root / "etc/pam.d/manylab"

    @property
    def profile_file(self) -> Path:
        return self.root / "etc/profile.d/manylab.sh"

    @property
    def system_font(self) -> Path:
        """The site's font for programs that look for fonts on the machine."""
        return self.root / "usr/local/share/fonts/manylab-wqy-microhei.ttc"

    @property
    def fish_file(self) -> Path:
        return self.root / "etc/fish/conf.d/manylab.fish"

    @property
    def csh_file(self) -> Path:
        return self.root / "etc/csh/login.d/manylab"

    @property
    def zsh_file(self) -> Path:
        """What login shells of zsh read; a file of Debian's package."""
        return self.root / "etc/zsh/zprofile"

    @property
    def user_generator(self) -> Path:
        """Gives variables to the systemd of each person (systemd.environment-generator(7))."""
        return self.root / "etc/systemd/user-environment-generators/60-manylab"

    @property
    def machine_kernels(self) -> Path:
        """Where every Jupyter of the machine looks for kernels."""
        return self.root / "usr/local/share/jupyter/kernels"

    @property
    def sudoers_file(self) -> Path:
        return self.root / "etc/sudoers.d/manylab"

    @property
    def command(self) -> Path:
        """`manylab` on everybody's PATH, a link to the hub environment's."""
        return self.root / "usr/local/bin/manylab"


def system_layout(root: Path = Path("/")) -> Layout:
    """The layout of a site that root owns."""
    return Layout(
        system=True,
        root=root,
        config=root / "etc/manylab",
        program=root / "opt/manylab",
        state=root / "var/lib/manylab",
        run=root / "run/manylab",
        logs=root / "var/log/manylab",
    )


def personal_layout(home: Path, runtime_dir: Path | None = None, root: Path | None = None) -> Layout:
    """The layout of a site that one ordinary user owns.

    runtime_dir: that user's XDG_RUNTIME_DIR, if there is one. root: MANYLAB_ROOT, which replaces the home.
    """
    if root is not None:
        home, runtime_dir = root, None
    state = home / ".local/state/manylab"
    return Layout(
        system=False,
        root=home,
        config=home / ".config/manylab",
        program=home / ".local/share/manylab",
        state=state,
        run=runtime_dir / "manylab" if runtime_dir is not None else state / "run",
        logs=state / "logs",
    )


# Which site a command is about, where both are there: OWN is the caller's.
SITE = "MANYLAB_SITE"
OWN = "own"


def find_layout(*, uid: int, home: Path, environ: Mapping[str, str], exists: Callable[[Layout], bool]) -> Layout:
    """The layout that a command started by this user with this environment is about.

    exists: whether there is a site. Root's site comes before one's own, unless that is asked for by MANYLAB_SITE=own:
    what somebody types about "the site" means the one that everybody uses.
    """
    override = environ.get("MANYLAB_ROOT")
    root = Path(override).absolute() if override else None
    machine = system_layout(root or Path("/"))
    if uid == 0 or (environ.get(SITE) != OWN and exists(machine)):
        return machine
    runtime = environ.get("XDG_RUNTIME_DIR")
    return personal_layout(home, Path(runtime) if runtime else None, root)


def private_record(uid: int) -> str:
    """The link beside a person's own /tmp that says for which account it was made: a uid can be given again."""
    return f"{uid}.account"
