"""environment.yml, the file that people bring from conda: what it asks for, and how it is written. Pure.

Written as `conda env export` writes it, so that conda, mamba and micromamba can read it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from manylab.base.errors import EnvironmentFailed
from manylab.model.conda_lock import Lock, check_channel

# A file of people's wishes; anything larger is none.
_LARGEST = 1 << 20
_HINT = "change the file, then import it again"
_SPEC = re.compile(r"(?:[A-Za-z0-9_./-]+::)?[A-Za-z0-9_][A-Za-z0-9_.-]*(?:[\s=<>!~\[].*)?")
_PYTHON = re.compile(r"python(?P<version>[\s=<>!~\[].*)?")
_KNOWN = ("name", "channels", "dependencies", "prefix", "variables", "platforms")


@dataclass(frozen=True)
class Imported:
    """What goes to [envs.NAME]. name: what the file calls it. notes: what was left out, a sentence each."""

    name: str
    python: str
    channels: tuple[str, ...]
    packages: tuple[str, ...]
    pip: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read(text: str) -> Imported:
    """What an environment.yml asks for. Raises EnvironmentFailed for what manylab cannot do."""
    data = _load(text)
    dependencies = data.get("dependencies")
    if not isinstance(dependencies, list):
        raise EnvironmentFailed("the file has no list of dependencies", hint="give an environment.yml of conda")
    notes = [f"{key}: is not known and was left out" for key in data if key not in _KNOWN]
    if data.get("prefix"):
        notes.append("prefix: was left out: manylab chooses where an environment stands")
    if data.get("variables"):
        notes.append("variables: was left out: use [servers] environment")
    python, packages, pip = "", [], []
    for one in dependencies:
        if isinstance(one, dict):
            pip += _pip_part(one)
        elif isinstance(one, str) and (found := _PYTHON.fullmatch(one.strip())):
            python = _python(one.strip(), (found["version"] or "").strip())
        else:
            packages.append(_spec(one))
    channels = _channels(data.get("channels"), notes)
    if pip and "pip" in packages:
        packages.remove("pip")
        notes.append("pip: was left out: uv installs the pip part, and needs no pip in the environment")
    return Imported(str(data.get("name") or ""), python, channels, tuple(packages), tuple(pip), tuple(notes))


def _load(text: str) -> Mapping[str, Any]:
    if len(text) > _LARGEST:
        raise EnvironmentFailed("the file is larger than any environment.yml", hint="give another file")
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        first = str(getattr(error, "problem", "") or error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise EnvironmentFailed(f"the file is not YAML{where}: {first}", hint=_HINT) from error
    if not isinstance(data, dict):
        raise EnvironmentFailed("the file is not an environment.yml", hint="give an environment.yml of conda")
    return {str(key): value for key, value in data.items()}


def _channels(said: Any, notes: list[str]) -> tuple[str, ...]:
    if said is None:
        notes.append("the file names no channels; conda-forge is used")
        return ("conda-forge",)
    if not isinstance(said, list) or not all(isinstance(one, str) and one.strip() for one in said):
        raise EnvironmentFailed("channels is not a list of names and addresses", hint=_HINT)
    found = [one.strip() for one in said if one.strip() != "nodefaults"]
    for one in found:
        check_channel(one)
    if "defaults" in found:
        notes.append(
            "the channel defaults was left out: it is Anaconda's own, whose terms ask larger organisations to pay; "
            "conda-forge has the same packages"
        )
        found = [one for one in found if one != "defaults"]
    return tuple(dict.fromkeys(found)) or ("conda-forge",)


def _spec(one: Any) -> str:
    text = one.strip() if isinstance(one, str) else ""
    if "://" in text or text.startswith(("/", "./", "../", "file:")) or re.search(r"\.(?:conda|tar\.bz2)$", text):
        raise EnvironmentFailed(
            "one of the dependencies is a file or an address instead of a name",
            hint="put the package into a channel (a folder with an index is one), and name it",
        )
    if not text.isprintable() or not _SPEC.fullmatch(text):
        raise EnvironmentFailed(f"{str(one)[:100]!r} is not a package of conda", hint=_HINT)
    return text


def _python(spec: str, version: str) -> str:
    """Conda's version of Python as manylab.toml has it (PEP 440): "=3.12" -> "==3.12.*"."""
    if "[" in version or len(version.split()) > 1 or (version.count("=") > 1 and not version.startswith("==")):
        # With a build string it is a matter of the solver; the version alone is what can be set.
        version = re.split(r"[=\s]+", version.lstrip("= "))[0] if "[" not in version else ""
        version = f"={version}" if version else ""
    if not version:
        return ""
    if found := re.fullmatch(r"=\s*([0-9]+(?:\.[0-9]+)*)(?:\.\*)?", version):
        return f"=={found[1]}" if found[1].count(".") >= 2 and not version.endswith("*") else f"=={found[1]}.*"
    if re.fullmatch(r"(?:(?:[<>]=?|[!=]=|~=)\s*[0-9]+(?:\.[0-9]+)*(?:\.\*)?\s*,?\s*)+", version):
        return version.replace(" ", "")
    raise EnvironmentFailed(f"{spec!r} is not a version of Python that can be chosen", hint='such as "python=3.12"')


def _pip_part(one: Mapping[Any, Any]) -> list[str]:
    if set(one) != {"pip"} or not isinstance(one["pip"], list):
        raise EnvironmentFailed("the dependencies have a part that is not pip:", hint=_HINT)
    return [_requirement(item) for item in one["pip"]]


def _requirement(item: Any) -> str:
    text = item.strip() if isinstance(item, str) else ""
    if text.startswith("-"):
        what = text.split()[0][:20]
        why = {"-r": "another file", "-e": "a folder in development"}.get(what, "an option of pip")
        raise EnvironmentFailed(
            f"the pip part has {what}, {why}, which cannot be locked",
            hint="name the packages themselves; an index is set with mirrors.pypi",
        )
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        shown = "an address or a folder" if "/" in text else repr(text[:100])
        raise EnvironmentFailed(
            f"the pip part has {shown}, which is not a package by name", hint="name it, such as numpy>=2"
        ) from error
    if requirement.url:
        raise EnvironmentFailed(
            f"the pip part has {requirement.name} from an address; only wheels of an index can be locked with hashes",
            hint="name the package with a version, or make a wheel of it and put it into an index",
        )
    return text


def write(name: str, *, channels: Sequence[str], python: str, packages: Sequence[str], pip: Sequence[str]) -> str:
    """An environment.yml that asks for the same as [envs.NAME]. Without channels, all packages go into the pip part."""
    version = python.replace(" ", "")
    dependencies: list[Any] = [f"python {version}".strip(), *(packages if channels else ())]
    pip = [*pip] if channels else [*packages, *pip]
    if pip:
        dependencies += ["pip", {"pip": pip}]
    return _dump({"name": name, "channels": list(channels) or ["conda-forge"], "dependencies": dependencies})


def write_exact(name: str, lock: Lock) -> str:
    """An environment.yml with the version and build of every package of a lock, as `conda env export` has it."""
    packages = sorted(lock.packages, key=lambda one: one.name)
    dependencies: list[Any] = [f"{one.name}={one.version}={one.build}" for one in packages]
    if pip := exact_pip(lock.pip):
        dependencies += [*([] if lock.package("pip") else ["pip"]), {"pip": list(pip)}]
    channels = list(dict.fromkeys(one.channel for one in packages))
    return _dump({"name": name, "channels": channels, "dependencies": dependencies})


def exact_pip(lines: Sequence[str]) -> tuple[str, ...]:
    """The packages of a requirements file with hashes, without the hashes: "numpy==2.1"."""
    return tuple(line.rstrip("\\ ").strip() for line in lines if re.match(r"[A-Za-z0-9]", line))


def _dump(data: Mapping[str, Any]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    out = io.StringIO()
    yaml.dump(dict(data), out)
    return out.getvalue()
