"""Which environment's widgets the Lab shows. Nothing here needs a machine."""

from pathlib import Path

import pytest

from manylab.base.layout import system_layout
from manylab.config.load import parse
from manylab.model import jupyter
from manylab.model.resources import Environment, Link

LAYOUT = system_layout()


def environment(name: str, *locked: str) -> Environment:
    text = "".join(f"{package} \\\n    --hash=sha256:00\n" for package in locked)
    return Environment(name, LAYOUT.env(name) / "0", "0", "/usr/bin/python3", "3.13", text)


def linked(toml: str, *built: Environment) -> dict[str, str]:
    return {link.path.name: link.target for link in jupyter.widgets(parse(toml), built, LAYOUT)}


def test_widgets_of_every_environment_are_there_and_nothing_else():
    course = environment("course", "ipympl==0.10.0", "numpy==2.4.6", "jupyterlab-git==0.5")
    maps = environment("maps", "jupyter-leaflet==0.20.0")
    assert linked("[envs.course]\n[envs.maps]\n", course, maps) == {
        "jupyter-matplotlib": "/opt/manylab/envs/course/current/share/jupyter/labextensions/jupyter-matplotlib",
        "jupyter-leaflet": "/opt/manylab/envs/maps/current/share/jupyter/labextensions/jupyter-leaflet",
    }


@pytest.mark.parametrize("default", ["a", "b", "c"])
def test_the_environment_for_new_notebooks_comes_first(default):
    built = [environment(name, "anywidget==0.11.0") for name in "abc"]
    target = linked(f'[env]\ndefault = "{default}"\n[envs.a]\n[envs.b]\n[envs.c]\n', *built)["anywidget"]
    assert target.startswith(f"/opt/manylab/envs/{default}/current/")


def test_the_servers_own_environments_count_only_as_such():
    assert linked("", environment("server", "ipympl==0.10.0"), environment("default", "numpy==2.4.6")) == {}


def test_one_for_another_python_does_not_count():
    only_old = environment("default", 'ipympl==0.10.0 ; python_full_version < "3.11"')
    assert linked("", only_old) == {}


def test_it_is_a_link_that_follows_the_environment():
    (link,) = jupyter.widgets(parse(""), [environment("default", "ipympl==0.10.0")], LAYOUT)
    assert isinstance(link, Link)
    assert link.path == Path("/opt/manylab/share/jupyter/labextensions/jupyter-matplotlib")
