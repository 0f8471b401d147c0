"""Is this the right password, and may this account come in? Asks PAM, a few questions at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from manylab.base import names
from manylab.base.errors import BadName
from manylab.warden import accounts
from manylab.warden.messages import Authenticate, Reason, Refusal
from manylab.warden.pam import Pam
from manylab.warden.settings import Settings
from manylab.warden.turns import Beginnings

log = logging.getLogger("manylab.warden")

# PAM processes. A wrong password holds one for two seconds: with few, whoever guesses would keep others waiting.
_AT_ONCE: Final = 64
_WAIT: Final = 20.0  # seconds for one of those to become free
_TRIES: Final = 5  # wrong passwords for one name ...
_WINDOW: Final = 60.0  # ... in this many seconds
_NAMES: Final = 4096  # names remembered; PAM's own delay lets no more than about 240 different ones pass in a window
# Linux-PAM waits 2 s, give or take a quarter, after a wrong password. Answers that need no PAM wait as long, or the
# time would tell strangers which accounts exist.
_PAUSE: Final = (1.5, 2.5)

# The numbers of Linux-PAM's _pam_types.h.
_VERDICTS: Final[dict[int, tuple[Reason, str]]] = {
    6: ("locked", "PAM does not let this account in"),  # PERM_DENIED
    7: ("wrong", "wrong name or password"),  # AUTH_ERR
    8: ("error", "PAM may not read what it needs to check this password"),  # CRED_INSUFFICIENT
    9: ("error", "the password directory cannot be reached"),  # AUTHINFO_UNAVAIL
    10: ("unknown", "PAM knows no such account"),  # USER_UNKNOWN
    11: ("busy", "too many wrong passwords; try again later"),  # MAXTRIES
    12: ("password-expired", "the password must be changed: sign in with ssh or at the console and use `passwd`"),
    13: ("expired", "the account has expired"),  # ACCT_EXPIRED
    27: ("password-expired", "the password has expired: sign in with ssh or at the console and use `passwd`"),
}


# What a stack says of an account whose password was right, when it does not pass on the true reason.
_BLURRED: Final = (6, 7)


class Throttle:
    """Slows guessing for one name, in bounded memory.

    Every try counts as wrong until it was right, so tries at the same moment count too. Who keeps guessing at a name
    can keep its owner out for as long as that goes on, never longer than a minute after; the warden does not know
    where a question comes from, so that is the hub's or a firewall's to prevent.
    """

    def __init__(self) -> None:
        self._tries: OrderedDict[str, list[float]] = OrderedDict()

    def begin(self, name: str, now: float) -> bool:
        """Whether this name may be tried now."""
        tries = [moment for moment in self._tries.pop(name, []) if now - moment < _WINDOW]
        self._tries[name] = tries
        while len(self._tries) > _NAMES:
            self._tries.popitem(last=False)
        if len(tries) >= _TRIES:
            return False
        tries.append(now)
        return True

    def forgive(self, name: str) -> None:
        """The last try was no guess."""
        if tries := self._tries.get(name):
            tries.pop()

    def forget(self, name: str) -> None:
        """The password was right."""
        self._tries.pop(name, None)


class Login:
    """Answers `authenticate`."""

    def __init__(self, pam: Pam) -> None:
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._turns = Beginnings()
        self._throttle = Throttle()
        self._pam = pam

    async def authenticate(self, message: Authenticate, settings: Settings) -> str:
        """The name of the account that this password opens; raises Refusal."""
        name = message.user
        try:
            names.account(name)
            name = await accounts.ask(accounts.spelled, name)
            person = await accounts.ask(accounts.find, name, settings)
        except BadName:
            log.info("no account can have the name %.80s", ascii(name))
            await asyncio.sleep(random.uniform(*_PAUSE))  # noqa: S311
            raise Refusal("unknown", "there is no such account") from None
        except Refusal:
            await asyncio.sleep(random.uniform(*_PAUSE))  # noqa: S311
            raise
        # Only names of real accounts come this far, so made-up ones cannot push a name out of the throttle's memory.
        if not self._throttle.begin(name, time.monotonic()):
            raise Refusal("busy", "too many wrong passwords; wait a minute and try again")
        try:
            await self._ask_pam(replace(message, user=name), settings)
        except Refusal as refusal:
            if refusal.reason not in ("wrong", "unknown"):
                self._throttle.forgive(name)
            if refusal.reason == "wrong" and await accounts.ask(accounts.has_locked_password, name):
                raise Refusal("locked", "the account's password is locked") from None
            raise
        self._throttle.forget(name)
        await accounts.ask(accounts.admit, person, settings)
        return person.name

    async def _ask_pam(self, message: Authenticate, settings: Settings) -> None:
        try:
            await asyncio.wait_for(self._free.acquire(), _WAIT)
        except (asyncio.TimeoutError, TimeoutError):
            raise Refusal("busy", "too many people are signing in; try again") from None
        try:
            question = {"user": message.user, "password": message.password, "service": settings.pam_service}
            async with self._turns.turn():
                verdict = await self._pam.ask(question, settings.python)
        finally:
            self._free.release()
        errno = verdict.get("errno")
        if errno == 0:
            if verdict.get("user") != message.user:
                raise Refusal("unknown", "PAM knows this account by another name")
            return
        if verdict.get("password") is True and errno in _BLURRED:
            reason = await accounts.ask(accounts.why_not_now, message.user)
            raise Refusal(*_VERDICTS[27 if reason == "password-expired" else 13])
        raise Refusal(*_VERDICTS.get(errno or -1, ("error", f"PAM failed with error {errno}")))
