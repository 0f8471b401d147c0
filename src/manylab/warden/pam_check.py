"""Questions to PAM, each in a process of its own: `python -I -m manylab.warden.pam_check`.

PAM modules are other people's code that may block, leak or crash; here they do so for one question only. Standard input
is a line to the warden (SOCK_SEQPACKET) on which descriptors come; for each of them a child is forked, and only the
child reads what is on it, one line: `{"user", "password", "service"}`. It writes one: `{"errno": int | null, "user":
str | null, "password": bool}`, the last saying whether the password was right, whatever else is wrong with the account.

A question without a password asks for a session: see `pam_session`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
from typing import Any, Final

import pamela

from manylab.warden import pam_session
from manylab.warm import capabilities, wire

_PATIENCE: Final = 60  # seconds, longer than the warden waits
_LIMIT: Final = 64 * 1024  # bytes
# PAM_DISALLOW_NULL_AUTHTOK of Linux-PAM's _pam_types.h, whatever "nullok" the machine's stack says: an account without
# a password is for somebody at the console. Debian 13's pam_unix besides hashes the empty password before the one that
# was typed, to see whether there is one, so that each sign-in cost twice as much.
_NO_EMPTY: Final = 0x0001


def check(user: str, password: str, service: str) -> dict[str, Any]:
    """PAM's own verdict: errno 0 when the password is right and the account may be used now."""
    # pamela.authenticate() would do these steps at once and not say which of them failed; and the conversation has to
    # live as long as the handle, which it does here.
    conversation = pamela.new_simple_password_conv((password,), "utf-8")
    try:
        handle = pamela.pam_start(service, user, conv_func=conversation, encoding="utf-8")
    except pamela.PAMError as error:
        return {"errno": error.errno, "user": None, "password": False}
    verdict = pamela.PAM_AUTHENTICATE(handle, _NO_EMPTY)
    right = verdict == 0
    if right:
        # Expired, must change the password... Apart from the password: Debian's common-account answers AUTH_ERR for all
        # of them, which would look like a wrong one.
        verdict = pamela.PAM_ACCT_MGMT(handle, 0)
    # A module may have mapped the name to another account's.
    known_as = handle.get_item(pamela.PAM_USER) if verdict == 0 else None
    # No session follows, so no credentials (a Kerberos cache, say) are asked for that would be left behind.
    pamela.PAM_END(handle, verdict)
    return {"errno": verdict, "user": known_as, "password": right}


def answer(connection: socket.socket, core: int) -> None:
    """Hear one question and answer it. core: the soft RLIMIT_CORE that servers have."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # modules wait for programs that they start
    signal.alarm(_PATIENCE)  # a module that waits for ever ends with its process
    conversation = wire.Conversation(connection)
    question, _ = conversation.receive(limit=_LIMIT)
    if "password" not in question:
        pam_session.hold({**question, "core": core}, conversation)
    try:
        verdict = check(question["user"], question["password"], question["service"])
    except Exception:  # whatever it was, the answer is "error"; its text may hold what was asked
        verdict = {"errno": None, "user": None}
    conversation.send(verdict)


def main() -> None:
    """Fork for each descriptor that comes, until the warden closes the line."""
    # A crashing module must not leave the password on the disk. The hard limit stays as it is for sessions.
    core, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    capabilities.dumpable(False)
    channel = socket.socket(fileno=os.dup(0))
    # Modules that print, or read, find nothing there.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, 16, 1, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # no process to be had: the other end hears the line being closed
                if os.fork() == 0:
                    try:
                        channel.close()
                        answer(socket.socket(fileno=descriptor), core)
                    finally:
                        os._exit(0)
            os.close(descriptor)


if __name__ == "__main__":
    main()
