"""The one door through which manylab runs other programs: an argv list, a timeout, captured output."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import re
import shutil
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from manylab.base.errors import CommandFailed

# Programs are looked for here and nowhere else: root's own PATH may name folders that others can write.
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Lines and columns of the screen that `on_screen` looks at: nothing that is drawn is left out, nothing is wrapped.
_SCREEN = (300, 250)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Where several threads run programs for one purpose: set, it ends them all.
ENDED_BY: ContextVar[threading.Event | None] = ContextVar("ended_by", default=None)

# Seconds between two calls of `watch`.
_WATCH = 0.2

# What decides how registries are reached; passed on to every installer, and nothing else of the caller's environment.
NETWORK_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_TRUSTED_HOST", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT"),
    *("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT"),
    *("UV_PYTHON_INSTALL_MIRROR", "UV_PYTHON_DOWNLOADS_JSON_URL"),
    *("UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_CAFILE"),
    *("npm_config_cafile", "NPM_CONFIG_USERCONFIG", "npm_config_userconfig"),
)


@dataclass(frozen=True)
class Completed:
    """A program that has ended. status: its exit status, or minus the signal that ended it."""

    argv: tuple[str, ...]
    status: int
    out: str
    err: str


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that programs get: a fixed PATH, English messages, the caller's HOME, and `extra`."""
    kept = {name: os.environ[name] for name in ("HOME", "TERM", "XDG_RUNTIME_DIR") if name in os.environ}
    return {"PATH": SAFE_PATH, "LC_ALL": "C.UTF-8", **kept, **(extra or {})}


def network_environment() -> dict[str, str]:
    """The caller's own settings of mirrors, proxies and certificate authorities."""
    return {name: os.environ[name] for name in NETWORK_VARIABLES if os.environ.get(name)}


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    umask: int = 0o022,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    on_screen: Callable[[str], None] | None = None,
    ends_with_us: bool = False,
    watch: Callable[[int], None] | None = None,
) -> Completed:
    """Run a program to its end.

    timeout: seconds, after which it is killed. umask: what it starts with; never the caller's, so that root's 077
    does not make files that people cannot read. on_line: called with each line of standard error as it comes (for
    progress). on_screen: standard error is a terminal, and this is called with what is drawn on it. ends_with_us: the
    kernel kills it when this process is killed, so that it does not go on writing beside the next one. watch: called
    now and then with its pid while it runs; what it raises ends the program and is raised here.
    Raises CommandFailed when it cannot be started, takes too long, or (with `check`) ends with a status other than 0.
    """
    argv = [os.fspath(part) for part in argv]
    environment = clean_environment(env)
    setpriv = shutil.which("setpriv", path=SAFE_PATH) if ends_with_us else None
    screen, drawn = _terminal() if on_screen is not None else (-1, subprocess.PIPE)
    try:
        process = subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", *argv] if setpriv else argv,
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=drawn,
            text=True,
            errors="replace",
            env=environment,
            cwd=cwd,
            umask=umask,
        )
    except OSError as error:
        if on_screen is not None:
            os.close(screen)
        raise CommandFailed(f"{argv[0]} cannot be started: {error.strerror}", argv=argv) from error
    finally:
        if on_screen is not None:
            os.close(drawn)
    with process, _watched(process, watch):
        try:
            if on_screen is not None:
                out, err = _follow(process, _drawn(screen, on_screen), timeout)
                err = lasting(err)
            elif on_line is not None:
                out, err = _follow(process, _lines(process, on_line), timeout)
            else:
                out, err = process.communicate(input, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise CommandFailed(f"{argv[0]} did not finish within {timeout:g} s", argv=argv) from error
        except BaseException:  # Ctrl-C: the program must not go on by itself
            process.kill()
            raise
    done = Completed(tuple(argv), process.returncode, out, err)
    if check and done.status != 0:
        last = (err.strip() or out.strip()).splitlines()[-12:]
        raise CommandFailed(
            f"{argv[0]} ended with status {done.status}" + (": " + "\n  ".join(last) if last else ""),
            argv=argv,
            status=done.status,
        )
    return done


@contextlib.contextmanager
def _watched(process: subprocess.Popen[str], watch: Callable[[int], None] | None) -> Iterator[None]:
    """Until the block ends, ask `watch` at every _WATCH seconds, and whether it is to be ended."""
    ended_by = ENDED_BY.get()
    if watch is None and ended_by is None:
        yield
        return
    ended = threading.Event()
    found: list[Exception] = []

    def look() -> None:
        while not ended.wait(_WATCH):
            try:
                if ended_by is not None and ended_by.is_set():
                    process.kill()
                    return
                if watch is not None:
                    watch(process.pid)
            except Exception as error:
                found.append(error)
                process.kill()
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if found:
            raise found[0]


def _terminal() -> tuple[int, int]:
    """A new terminal: (the side that sees what is drawn, the side of the program)."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *_SCREEN, 0, 0))
    return ours, theirs


def _lines(process: subprocess.Popen[str], on_line: Callable[[str], None]) -> Iterator[str]:
    assert process.stderr is not None
    for line in process.stderr:
        on_line(line.rstrip("\n"))
        yield line


def _drawn(screen: int, on_screen: Callable[[str], None]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with open(screen, "rb", buffering=0) as source:
        while True:
            try:
                data = source.read(65536)
            except OSError:  # EIO: nobody has the other side open any more
                return
            if not data:
                return
            text = decoder.decode(data)
            on_screen(text)
            yield text


def lasting(drawn: str) -> str:
    """What stays on a screen: no bars, no spinners, no colours."""
    lines = (re.split(r"\x1b\[2K|\r", line.rstrip("\r"))[-1] for line in drawn.split("\n"))
    # A spinner (one of Braille's patterns) that was about to be wiped away fills its line.
    shown = (re.sub(r"^[\u2800-\u28ff] .*? {9,}", "", CONTROL.sub("", line)).rstrip() for line in lines)
    return "\n".join(line for line in shown if line)


def _follow(process: subprocess.Popen[str], said: Iterator[str], timeout: float) -> tuple[str, str]:
    """Read what it says while it runs; standard output must be small (it is read at the end)."""
    assert process.stdout is not None
    expired = threading.Event()

    def end() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(timeout, end)
    timer.start()
    try:
        errors = "".join(said)
        out = process.stdout.read()
        process.wait()
    finally:
        timer.cancel()
    if expired.is_set():
        raise subprocess.TimeoutExpired(process.args, timeout)
    return out, errors
