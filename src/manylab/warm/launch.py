"""`python -I -m manylab.warm.launch UID GID LISTENER CONTROL -- COMMAND...`: a nursery, by root's warden.

Becomes the nursery's account, keeps four capabilities over exec, and puts the two descriptors where the nursery looks
for them, with the variables that MANYLAB_NURSERY_ENVIRONMENT holds. UID 0: this account (a site of one ordinary user,
who can become nobody else).
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from typing import Final, NoReturn

from manylab.warm import capabilities
from manylab.warm.nursery import CONTROL, LISTENER

# JSON; variables for the nursery that are none of this program's.
ENVIRONMENT: Final = "MANYLAB_NURSERY_ENVIRONMENT"


def main(arguments: list[str]) -> NoReturn:
    """Become the nursery. Raises OSError."""
    uid, gid, listener, control = (int(word) for word in arguments[1:5])
    command = arguments[6:]
    # Both out of the way first: one may be in the other's place, and what is in its own place already would be closed.
    listener, control = (fcntl.fcntl(descriptor, fcntl.F_DUPFD, CONTROL + 1) for descriptor in (listener, control))
    os.dup2(listener, LISTENER)
    os.dup2(control, CONTROL)
    os.closerange(CONTROL + 1, os.sysconf("SC_OPEN_MAX"))
    if uid != 0:
        keep = capabilities.NURSERY & capabilities.permitted()
        capabilities.keep_over_setuid()
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        capabilities.put(keep, keep, keep)
        capabilities.keep_over_exec(keep)
    environ = dict(os.environ)
    environ |= json.loads(environ.pop(ENVIRONMENT, "{}"))
    os.execve(command[0], command, environ)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv)
