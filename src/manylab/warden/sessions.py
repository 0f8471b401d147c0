"""The PAM session that a server runs in: limits, environment and umask of the account, and a home made on demand.

PAM is asked by a process of its own (`pam_session`), which holds the session until the server has ended. Here is what
the warden knows of it; what a module may do to that process, and how long it takes, does not reach the warden.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import resource
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

from manylab.warden.accounts import Person
from manylab.warden.messages import Reason, Refusal
from manylab.warden.pam import Pam
from manylab.warden.settings import Settings
from manylab.warden.talk import Silent, Talk
from manylab.warm import process

log = logging.getLogger("manylab.warden")

_STEP: Final = (
    20.0  # seconds for the home to answer, and then for all session modules; a directory that is down takes 15
)
_BEGIN: Final = 5.0  # seconds for a process
_AT_ONCE: Final = 64  # processes that open a session
_ANSWER: Final = 128 * 1024  # bytes: an environment
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What the server, the hub and manylab say to each other; PAM's modules have no part in it.
_OURS: Final = ("JUPYTER", "JPY_", "MANYLAB")
_USUAL_UMASK: Final = 0o022


@dataclass(frozen=True)
class Traits:
    """What a program inherits from the session that it runs in. limits: soft and hard, those that modules set.

    groups: those that modules added to the account's.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int = _USUAL_UMASK
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    nice: int | None = None
    no_new_privileges: bool = False
    groups: tuple[int, ...] = ()


class Session:
    """An open session. Where there is none (a site of one ordinary user) the traits are the usual ones."""

    def __init__(self, traits: Traits, talk: Talk | None = None) -> None:
        self.traits = traits
        self._talk = talk

    async def holds(self, server: int | None) -> None:
        """It is closed when this process has ended (a pidfd), in the place of one named before."""
        if self._talk is not None and server is not None:
            with contextlib.suppress(Silent):
                await self._talk.send({"server": True}, (server,))


class Sessions:
    """Opens sessions. files: the soft RLIMIT_NOFILE of servers. All methods run in the event loop."""

    def __init__(self, pam: Pam, files: int) -> None:
        self._pam = pam
        self._files = files
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def opened(self, person: Person, settings: Settings) -> AsyncIterator[Session]:
        """For one start: a session that ends with the server, or with the start where there is none. Raises Refusal."""
        if settings.person_uid is not None or os.geteuid() != 0:
            yield Session(Traits())
            return
        # One at a time for each account: many servers of one whose home hangs keep nobody else waiting.
        async with self._locks.setdefault(person.name, asyncio.Lock()), self._free:
            talk, traits = await self._open(person, settings)
        try:
            yield Session(traits, talk)
        finally:
            talk.close()

    async def _open(self, person: Person, settings: Settings) -> tuple[Talk, Traits]:
        question = {
            "service": settings.pam_service,
            "user": person.name,
            "home": person.home,
            "gid": person.gid,
            "groups": list(person.groups),
            "files": self._files,
        }
        talk, pid = await self._begin(question, settings)
        step, traits = "home", None
        try:
            said = await talk.object(_STEP)
            step = "session"
            said = await talk.object(_STEP)
            if not said["errno"]:
                traits = _traits(said)
                return talk, traits
            why: Reason = "no-session"
            how = f"a module refused it (error {said['errno']}) {said.get('said', '')}".strip()
        except Silent as silent:
            why, how = "session-silent", f"a session module does not answer within {_STEP:.0f} s{_waits_for(pid)}"
            if str(silent) == "closed":
                why, how = "no-session", "a session module crashed"
        except (KeyError, TypeError, ValueError) as error:
            why, how = "no-session", f"not understood: {type(error).__name__}"
        finally:
            if traits is None:
                talk.close()
                process.end_all([*process.descendants(pid), pid])
        if step == "home" and why == "session-silent":
            refusal = home_is_silent(person.home)
        else:
            where = f"session lines of /etc/pam.d/{settings.pam_service}"
            refusal = Refusal(why, f"PAM opens no session for {person.name}: {how} ({where})")
        log.warning("%s", refusal.message)
        raise refusal

    async def _begin(self, question: Mapping[str, Any], settings: Settings) -> tuple[Talk, int]:
        for _ in range(2):  # once more with a new process, when that which forks had died
            if (talk := self._pam.connect(settings.python)) is None:
                continue
            talk.limit = _ANSWER
            try:
                await talk.send(dict(question))
                return talk, int((await talk.object(_BEGIN))["pid"])
            except (Silent, KeyError, TypeError, ValueError) as error:
                log.warning("no process for a session: %s", error)
                talk.close()
        raise Refusal("no-session", "PAM cannot be asked for a session; the warden's log says why")


def home_is_silent(home: str) -> Refusal:
    """For a start that waited for the home in vain."""
    return Refusal("home-silent", f"the home folder {home} does not answer; is its file server there?")


def _waits_for(pid: int) -> str:
    """The programs that modules of this process have started (pam_exec, pam_mkhomedir), for the sentence."""
    with contextlib.suppress(OSError):
        if names := [process.status_of(one).get("Name", "") for one in process.descendants(pid)]:
            return f" and waits for {', '.join(names)}"
    return ""


def _traits(said: Mapping[str, Any]) -> Traits:
    """Raises KeyError, TypeError, ValueError."""
    return Traits(
        environment=usable(said["environment"]),
        umask=int(said["umask"]),
        limits={str(name): (int(soft), int(hard)) for name, (soft, hard) in said["limits"].items()},
        nice=int(said["nice"]),
        no_new_privileges=bool(said["no_new_privileges"]),
        groups=tuple(int(group) for group in said["groups"]),
    )


def usable(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of PAM's that a server can be given: none by which hub and server know each other. Pure."""
    return {
        name: value
        for name, value in environment.items()
        if _VARIABLE.fullmatch(name) and not name.startswith(_OURS) and "\0" not in value
    }


def lift(pid: int, hard: Mapping[str, int], nice: int | None = None) -> None:
    """Let a process have limits and a priority that only root can give; it sets them by itself.

    Best effort: without CAP_SYS_RESOURCE (many containers) it keeps the lower ones.
    """
    for name, value in hard.items():
        with contextlib.suppress(OSError, ValueError):
            soft, before = resource.prlimit(pid, process.LIMITS[name])
            if before != resource.RLIM_INFINITY and (value == resource.RLIM_INFINITY or value > before):
                resource.prlimit(pid, process.LIMITS[name], (soft, value))
    with contextlib.suppress(OSError):
        if nice is not None and nice < os.getpriority(os.PRIO_PROCESS, pid):
            os.setpriority(os.PRIO_PROCESS, pid, nice)


def hard_limits(pid: int) -> dict[str, int]:
    """Those of another process; {} where root may not see them (and cannot have raised them)."""
    with contextlib.suppress(OSError):
        return {name: resource.prlimit(pid, number)[1] for name, number in process.LIMITS.items()}
    return {}
