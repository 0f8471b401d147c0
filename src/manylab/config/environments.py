"""The environments of kernels and terminals: one table each, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from manylab.config import conda_packages, kinds
from manylab.config.kinds import Kind
from manylab.config.table import Table, setting


class Environment(Table):
    """An environment: the Python and the packages of kernels and terminals. `default` is always there."""

    zh = "环境：每个 [envs.名称] 是一个 Python 环境；default 总是存在"

    python: kinds.PythonVersion = setting(
        ">=3.10",
        doc="Which Python the environment is made with (PEP 440): one of this machine, or where none fits, one that is "
        "downloaded.",
        example="==3.12.*",
        counts="kernel",
    )
    backend: Literal["uv", "conda"] = setting(
        "uv",
        doc="What builds the environment: uv takes wheels from the package index; conda takes packages of conda "
        "channels, their Python included, and needs no conda on the machine.",
        example="conda",
        counts="kernel",
    )
    packages: kinds.AnyPackages = setting(
        ["scientific"],
        doc="Packages as pip would take them (PEP 508), or with backend conda as conda would (match specs); the word "
        '"scientific" stands for numpy, scipy, pandas, matplotlib, scikit-learn and more (`manylab env show`). '
        "ipykernel comes by itself.",
        example=["scientific", "polars>=1"],
        counts="kernel",
    )
    indexes: kinds.Indexes = setting(
        [],
        doc="Package indexes that are asked before the site's own, without a password; what one of them has comes from "
        "there alone. With backend conda for its pip part.",
        example=["https://packages.example.org/simple"],
        counts="kernel",
    )
    channels: kinds.Channels = setting(
        list(conda_packages.DEFAULT_CHANNELS),
        doc="Channels of the conda backend, the first that has a package wins: names, or addresses without a password.",
        example=["conda-forge", "bioconda"],
        counts="kernel",
    )
    pip: kinds.Packages = setting(
        [],
        doc="Packages from the package index on top of conda's, as pip would take them; with backend uv the same as "
        "packages.",
        example=["some-package>=2"],
        counts="kernel",
    )
    source: kinds.Packages = setting(
        [],
        doc="Packages that may be built from source where the index has no wheel of them (backend uv): in a sandbox "
        "without network, by an account without power, with the compilers of this machine. Of all others, wheels only.",
        example=["some-package"],
        counts="kernel",
    )
    start: Literal["warm", "cold"] = setting(
        "warm",
        doc="warm forks a kernel from a process that has everything imported (where servers.start is warm, too); cold "
        "starts a new interpreter.",
        example="cold",
        counts="kernel",
    )
    title: kinds.LineOrNothing = setting(
        "",
        doc='Its name in the Lab. Empty: "Python 3" for the default environment, "Python 3 (name)" for others.',
        example="Physics II",
    )
    description: kinds.LineOrNothing = setting(
        "", doc="What it is for, in one line; `manylab env list` shows it.", example="For the course of autumn 2026"
    )
    logo: kinds.File = setting(
        "",
        doc="Its picture in the launcher: an SVG or PNG file that everybody can read. Empty: Python's own.",
        example="/srv/physics/logo.svg",
    )
    groups: kinds.Groups = setting(
        [],
        doc="Groups of this machine whose members are offered it; empty: everybody. Its files are no secret.",
        example=["physics2"],
    )
    variables: kinds.EnvironmentVariables = setting(
        {},
        doc="Environment variables of its kernels and of `manylab env shell`; everybody can read them. LD_LIBRARY_PATH "
        "(CUDA, for example) names absolute folders that root alone can write.",
        example={"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"},
    )
    preload: kinds.Modules = setting(
        ["auto"],
        doc='Modules that a warm kernel has already imported; the word "auto" stands for numpy, pandas and '
        "matplotlib.pyplot, those of them that are among the packages.",
        example=["auto", "scipy.stats"],
        counts="kernel",
    )


def _with_default(value: Any) -> Any:
    """The environment `default` exists without being written down."""
    return {"default": {}, **value} if isinstance(value, Mapping) else value


Environments = Annotated[
    Mapping[kinds.EnvironmentName, Environment],
    Kind("a table for each environment"),
    BeforeValidator(_with_default),
    AfterValidator(kinds.freeze),
    PlainSerializer(dict, return_type=dict[str, Environment]),
]


class Env(Table):
    """All environments together."""

    zh = "所有环境：默认环境、终端所用环境、保留多少个旧版本"

    keep: Annotated[int, Kind("a whole number, 1 to 1000"), Field(ge=1, le=1000)] = setting(
        3,
        doc="How many generations of each environment stay, to go back to; older ones go when nobody uses them. What "
        "`rollback` without a number needs stays as well.",
        example=10,
    )
    default: kinds.EnvironmentSetting = setting(
        "default",
        doc="The environment of new notebooks; everybody must be able to see it.",
        example="default",
        counts="server",
    )
    terminal: kinds.EnvironmentSetting = setting(
        "default",
        doc="The environment whose programs come first in terminals; people take another by `manylab env shell`.",
        example="default",
        counts="server",
    )
