"""Several environments: names, logos, who is offered which, which comes first."""

from __future__ import annotations

import grp
import json
import os
from pathlib import Path

import pytest
from jupyter_core import paths

from manylab.base.errors import ConfigError
from manylab.base.layout import system_layout
from manylab.config.environments import Environment as Wanted
from manylab.config.load import parse
from manylab.lab import own
from manylab.lab.kernels import SiteKernelSpecs, groups_of, is_member
from manylab.model import environments, jupyter
from manylab.model.resources import Environment
from manylab.system.files import everybody_can_read

LAYOUT = system_layout(Path("/"))


def built(name: str) -> Environment:
    return Environment(name, LAYOUT.env(name) / "abc", "abc", "/usr/bin/python3", "3.11", "")


def test_an_environment_has_its_title_and_logo():
    spec, logo = environments.kernel_spec(built("course"), Wanted(title="Physics II", logo="/srv/a.PNG"), LAYOUT)
    assert json.loads(spec.content)["display_name"] == "Physics II"
    assert (logo.path.name, logo.target) == ("logo-64x64.png", "/srv/a.PNG")
    spec, logo = environments.kernel_spec(built("default"), Wanted(), LAYOUT)
    assert json.loads(spec.content)["display_name"] == "Python 3"
    assert logo.target == "/opt/manylab/envs/default/abc/share/jupyter/kernels/python3/logo-svg.svg"


def test_which_comes_first_is_a_setting():
    config = parse('[env]\ndefault = "course"\nterminal = "course"\n[envs.course]\n', "manylab.toml")
    assert jupyter.variables(config, LAYOUT)["MANYLAB_DEFAULT_KERNEL"] == "manylab-course"
    assert str(jupyter.search_path(config, LAYOUT)[0]) == "/opt/manylab/envs/course/current/bin"
    assert jupyter.variables(parse("", "manylab.toml"), LAYOUT)["MANYLAB_DEFAULT_KERNEL"] == "python3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[env]\ndefault = "other"\n', "there is no environment 'other'"),
        ('[envs.default]\ngroups = ["a"]\n', "everybody needs default"),
        ('[env]\nterminal = "c"\n[envs.c]\ngroups = ["a"]\n', "everybody needs c"),
        ('[envs.default]\nlogo = "/srv/a.gif"\n', "neither an SVG nor a PNG"),
    ],
)
def test_what_cannot_be_together_is_said(text, said):
    with pytest.raises(ConfigError) as error:
        parse(text, "manylab.toml")
    assert said in str(error.value)


def test_a_kernel_is_offered_to_members_of_its_groups_alone(tmp_path, monkeypatch):
    mine = grp.getgrgid(os.getgid()).gr_name
    for name, groups in {"all": [], "ours": [mine], "theirs": ["no-such-group"]}.items():
        folder = tmp_path / "kernels" / f"manylab-{name}"
        folder.mkdir(parents=True)
        spec = {"argv": ["x"], "display_name": name, "language": "python", "metadata": {"manylab": {"groups": groups}}}
        (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setattr(paths, "os", os)  # put back afterwards
    monkeypatch.setattr(own, "environ", {})
    own.use({"JUPYTER_PATH": str(tmp_path)})
    specs = SiteKernelSpecs()
    assert {name for name in specs.get_all_specs() if name.startswith("manylab-")} == {"manylab-all", "manylab-ours"}
    assert specs.get_kernel_spec("manylab-ours").display_name == "ours"
    with pytest.raises(KeyError):
        specs.get_kernel_spec("manylab-theirs")


def test_what_says_nothing_of_groups_is_for_everybody(tmp_path):
    for text in ("", "[]", "{}", '{"metadata": null}', '{"metadata": {"manylab": {"groups": null}}}'):
        (tmp_path / "kernel.json").write_text(text)
        assert groups_of(tmp_path / "kernel.json") == []
    assert not is_member(["no-such-group"])


def test_a_file_that_only_root_can_reach_is_no_logo(tmp_path):
    logo = tmp_path / "logo.svg"
    assert not everybody_can_read(logo)
    logo.write_text("<svg/>")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    logo.chmod(0o644)
    assert everybody_can_read(logo)
    logo.chmod(0o640)
    assert not everybody_can_read(logo)
