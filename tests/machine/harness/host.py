"""The host that the machines run on: what it can do, where we may write, what it tells us about the network.

Everything here is read when a function is called, never when the module is imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import HarnessError, Unavailable

TOOLS = ("unshare", "nsenter", "pivot_root", "mount", "umount", "setpriv", "tar")
CA_INSIDE = "/etc/manylab-test-ca.pem"
CA_HOST = Path("/etc/ssl/certs/ca-certificates.crt")
CA_NAMES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
PASSED_NAMES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
PASSED_PREFIXES = ("pip_", "uv_", "npm_config_")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def cache() -> Path:
    """Where roots, snapshots and machines are: $MANYLAB_TEST_CACHE, or /var/cache/manylab-tests."""
    return Path(os.environ.get("MANYLAB_TEST_CACHE") or "/var/cache/manylab-tests")


def tool(name: str) -> str:
    """The path of a host program, found in the system's folders too. Raises Unavailable."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if found is None:
        raise Unavailable(f"{name} is not installed on this host")
    return found


def missing() -> str | None:
    """Why no machine can run here (for a skip), or None when all is well. Changes nothing but the cache
    folder.
    """
    if os.geteuid() != 0:
        return "needs root: machines are made of mounts and namespaces"
    try:
        for name in TOOLS:
            tool(name)
        overlay_works()
        if not any((cache() / "layers").glob("*@*")):  # a filled cache needs no debootstrap
            tool("debootstrap")
    except Unavailable as reason:
        return str(reason)
    return None


def overlay_works() -> None:
    """Mount an overlay in a private namespace, in the cache folder, since that depends on its file system.

    Raises Unavailable with mount's own words.
    """
    probe = cache() / "machines" / f".probe-{os.getpid()}"
    parts = [probe / part for part in ("lower", "upper", "work", "root")]
    try:
        for part in parts:
            part.mkdir(parents=True)
        options = f"lowerdir={parts[0]},upperdir={parts[1]},workdir={parts[2]}"
        mount = [tool("mount"), "-t", "overlay", "overlay", "-o", options, str(parts[3])]
        argv = [tool("unshare"), "--mount", "--pid", "--cgroup", "--fork", "--propagation", "private", *mount]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            raise Unavailable(f"no overlay or namespaces in {cache()}: {done.stderr.strip()}")
    except OSError as error:
        raise Unavailable(f"cannot write {cache()}: {error}") from error
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def wants_certificates(environ: Mapping[str, str]) -> bool:
    """Does the host say, by its environment, that programs need its own certificate authorities?"""
    return CA_HOST.exists() and any(name in environ for name in CA_NAMES)


def passed_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What commands in a machine must know to reach package registries, from the host's own variables.

    A value that is a path or a file: address of the host means nothing inside and is left out.
    """
    passed = {
        name: value
        for name, value in environ.items()
        if name.lower() in PASSED_NAMES or name.lower().startswith(PASSED_PREFIXES)
        if not value.startswith(("/", "file:"))
    }
    if wants_certificates(environ):
        passed |= dict.fromkeys(CA_NAMES, CA_INSIDE)
        passed |= {"UV_NATIVE_TLS": "1", "UV_SYSTEM_CERTS": "1"}  # the second is the newer name of the first
    return passed


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process at a time is inside; the kernel lets go when that process dies."""
    path = cache() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A TCP port that nobody listens on and no other machine of ours was given, for as long as it is held.

    Below 30000, since Linux gives outgoing connections ports from 32768 on.
    """
    folder = cache() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    for port in random.sample(range(20000, 30000), 200):
        with (folder / f"port-{port}").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            yield port
            return
    raise HarnessError("no free port between 20000 and 30000")
