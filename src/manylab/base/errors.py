"""The one kind of failure that is shown to people: what happened, what to do next, and a stable code."""

from __future__ import annotations

from typing import Any


class ManylabError(Exception):
    """A failure that a person can act on.

    message: what happened, one plain sentence.
    hint: what to do next, or "" when there is nothing to be done.
    code: stable, documented in docs/reference/errors.md, for scripts and searches; each subclass sets its own.
    data: facts for `--json`; never a secret.
    """

    code = "E-FAILED"

    def __init__(self, message: str, *, hint: str = "", **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data

    def as_json(self) -> dict[str, Any]:
        """The error as the `error` object of every command's `--json` output."""
        return {"code": self.code, "message": self.message, "hint": self.hint, **self.data}


class ConfigError(ManylabError):
    """manylab.toml (or a value given on the command line) is wrong; `data["problems"]` lists every problem."""

    code = "E-CONFIG"


class BadName(ManylabError):
    """A text that was given as the name of a person, group, environment or server cannot be one."""

    code = "E-BAD-NAME"


class PortTaken(ManylabError):
    """Somebody else listens where the proxy should."""

    code = "E-PORT-TAKEN"


class NeedsRoot(ManylabError):
    """The command changes the machine and was not started as root."""

    code = "E-NEEDS-ROOT"


class Locked(ManylabError):
    """Another manylab is changing this site; `data["pid"]` says which process."""

    code = "E-LOCKED"


class CommandFailed(ManylabError):
    """A program that manylab ran ended with an error or took too long; `data` has argv, status and output."""

    code = "E-COMMAND"


class NotConverged(ManylabError):
    """A change was made and, looking again, the machine is still not as it should be."""

    code = "E-NOT-CONVERGED"


class EnvironmentFailed(ManylabError):
    """An environment could not be solved, built or checked; the one in use is untouched."""

    code = "E-ENV"


class DownloadFailed(ManylabError):
    """A package registry could not be reached or answered with an error."""

    code = "E-DOWNLOAD"


class BundleFailed(ManylabError):
    """A bundle is damaged, or is not for this machine; nothing was changed."""

    code = "E-BUNDLE"


class AdvisoriesUnavailable(ManylabError):
    """Where known vulnerabilities are listed could not be reached, so nothing is known about these packages."""

    code = "E-ADVISORIES"


class DiskFull(ManylabError):
    """No space is left where something has to be written; what was there before still is."""

    code = "E-DISK-FULL"


class Unhealthy(ManylabError):
    """The site was changed and does not answer; the previous generation is put back."""

    code = "E-UNHEALTHY"


class NotFound(ManylabError):
    """Something that was named does not exist: a person, an environment, a generation, a setting."""

    code = "E-NOT-FOUND"


class NotInstalled(ManylabError):
    """The command needs manylab to be installed as a service, or a site to exist, and there is none."""

    code = "E-NOT-INSTALLED"


class AlreadyRunning(ManylabError):
    """The site is already being served; `data["pid"]` says by which process."""

    code = "E-RUNNING"


class WardenUnavailable(ManylabError):
    """The warden does not answer on its socket."""

    code = "E-WARDEN"


class NoAnswer(ManylabError):
    """A home folder, a file system or the directory of accounts did not answer in time; nothing was changed."""

    code = "E-NO-ANSWER"


class Refused(ManylabError):
    """The request is understood and not allowed: a system account, a non-member, an unsafe address."""

    code = "E-REFUSED"


class Unsupported(ManylabError):
    """This machine lacks something that the request needs."""

    code = "E-UNSUPPORTED"
