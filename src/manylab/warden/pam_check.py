"""One question to PAM, in a process of its own: `python -I -m manylab.warden.pam_check`.

PAM modules are other people's code that may block, leak or crash; here they do so for one question only. Reads
`{"user", "password", "service"}` from standard input, writes one line: `{"errno": int | null, "user": str | null,
"password": bool}`, the last saying whether the password was right, whatever else is wrong with the account.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

import pamela


def check(user: str, password: str, service: str) -> dict[str, Any]:
    """PAM's own verdict: errno 0 when the password is right and the account may be used now."""
    # pamela.authenticate() would do these steps at once and not say which of them failed; and the conversation has to
    # live as long as the handle, which it does here.
    conversation = pamela.new_simple_password_conv((password,), "utf-8")
    try:
        handle = pamela.pam_start(service, user, conv_func=conversation, encoding="utf-8")
    except pamela.PAMError as error:
        return {"errno": error.errno, "user": None, "password": False}
    verdict = pamela.PAM_AUTHENTICATE(handle, 0)
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


def main() -> None:
    """Answer the question on standard input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crashing module must not leave the password on the disk
    answer = os.dup(1)
    # Modules that print do not get in the way of the answer.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    question = json.loads(sys.stdin.buffer.read())
    try:
        verdict = check(question["user"], question["password"], question["service"])
    except Exception:  # whatever it was, the answer is "error"; its text may hold what was asked
        verdict = {"errno": None, "user": None}
    os.write(answer, json.dumps(verdict).encode() + b"\n")


if __name__ == "__main__":
    main()
