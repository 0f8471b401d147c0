"""One question to PAM, in a process of its own: `python -I -m manylab.warden.pam_check`.

PAM modules are other people's code that may block, leak or crash; here they do so for one question only. Reads
`{"user", "password", "service"}` from standard input, writes one line: `{"errno": int | null, "user": str | null}`.
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
    try:
        # check: pam_acct_mgmt too (expired, must change password). resetcred=0: no session follows, so no credentials
        # (a Kerberos cache, say) may be left behind.
        handle = pamela.authenticate(user, password, service=service, resetcred=0, close=False, check=True)
    except pamela.PAMError as error:
        return {"errno": error.errno, "user": None}
    # A module may have mapped the name to another account's.
    known_as = handle.get_item(pamela.PAM_USER)
    pamela.pam_end(handle)
    return {"errno": 0, "user": known_as}


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
