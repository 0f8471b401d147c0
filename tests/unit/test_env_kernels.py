"""Kernels of other languages that packages of environments bring."""

import json
from pathlib import Path

import pytest

from manylab.model.resources import Kernels, KernelSource
from manylab.plan.diff import diff
from manylab.system.environments import kernels, record


def environment(folder: Path, name: str, *brought: str, groups: tuple[str, ...] = ()) -> KernelSource:
    """A folder like an environment's, with kernels of these names and a `python` to start them with."""
    path = folder / "envs" / name
    (path / "bin").mkdir(parents=True)
    (path / "bin/python").write_text("")
    (path / "bin/python").chmod(0o755)
    (path / record.MARKER).write_text("{}")
    for kernel in ("python3", *brought):
        put(path, kernel, {"argv": ["python", "-m", kernel, "-f", "{connection_file}"], "display_name": kernel.title()})
    return KernelSource(name, path, groups, (("PATH", f"{path}/bin:${{PATH}}"),))


def put(path: Path, name: str, spec: object) -> Path:
    target = path / "share/jupyter/kernels" / name
    target.mkdir(parents=True, exist_ok=True)
    (target / "kernel.json").write_text(json.dumps(spec))
    return target


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


def written(site: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in site.glob("*/kernel.json")}


def test_a_kernel_of_a_package_is_offered_with_its_environments_program(tmp_path, site):
    source = environment(tmp_path, "default", "octave", groups=("class",))
    kernels.write(want := Kernels(site, (source,)))
    assert list(written(site)) == ["octave"]
    spec = written(site)["octave"]
    assert spec["argv"][:3] == [f"{source.path}/bin/python", "-m", "octave"]
    assert spec["env"] == {"PATH": f"{source.path}/bin:${{PATH}}"}
    assert spec["display_name"] == "Octave"
    assert spec["metadata"]["manylab"]["groups"] == ["class"]
    assert diff(want, kernels.observe(want)) is None


def test_the_first_environment_gives_a_kernel_its_usual_name(tmp_path, site):
    both = environment(tmp_path, "course", "octave"), environment(tmp_path, "default", "octave", "ir")
    kernels.write(Kernels(site, both))
    titles = {name: spec["display_name"] for name, spec in written(site).items()}
    assert titles == {"octave": "Octave (course)", "octave-default": "Octave (default)", "ir": "Ir"}


def test_what_a_package_no_longer_brings_is_no_longer_offered(tmp_path, site):
    source = environment(tmp_path, "default", "octave", "ir")
    kernels.write(want := Kernels(site, (source,)))
    (site / "manylab-own").mkdir()
    (site / "manylab-own/kernel.json").write_text('{"argv": ["x"], "metadata": {"manylab": {"environment": "own"}}}')
    (source.path / "share/jupyter/kernels/octave/kernel.json").unlink()
    change = diff(want, kernels.observe(want))
    assert change is not None
    assert change.why == ("octave is not as its package has it",)
    kernels.write(want)
    assert set(written(site)) == {"ir", "manylab-own"}


def test_nothing_is_said_of_an_environment_that_is_yet_to_be_built(tmp_path, site):
    kernels.write(Kernels(site, (environment(tmp_path, "default", "octave"),)))
    unbuilt = KernelSource("default", tmp_path / "later", (), ())
    want = Kernels(site, (unbuilt,))
    assert diff(want, kernels.observe(want)) is None


@pytest.mark.parametrize("spec", ["[]", "no json", '{"argv": []}', '{"argv": [1]}', '{"argv": "sh"}', "[" * 100_000])
def test_what_is_no_spec_is_left_out(tmp_path, site, spec):
    source = environment(tmp_path, "default")
    (put(source.path, "odd", {}) / "kernel.json").write_text(spec)
    kernels.write(Kernels(site, (source,)))
    assert written(site) == {}


def test_a_link_of_a_package_is_not_followed(tmp_path, site):
    secret = tmp_path / "secret"
    secret.write_text("root's own")
    source = environment(tmp_path, "default", "octave")
    (source.path / "share/jupyter/kernels/octave/logo-svg.svg").symlink_to(secret)
    kernels.write(Kernels(site, (source,)))
    assert not (site / "octave/logo-svg.svg").exists()
