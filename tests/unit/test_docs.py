"""The pages of docs/reference that come from code are as the code says, and nothing is missing from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from manylab.base.errors import ManylabError
from manylab.config import walk
from manylab.config.advice import ADVICE
from manylab.config.jupyterhub_names import NAMES
from manylab.config.reference import PAGES, error_types

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name):
    again = "run: python -m manylab.config.reference"
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), again


def test_every_setting_is_documented():
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    for setting in walk.settings():
        assert f"\n### {setting.key}\n" in page


def test_every_error_code_is_documented_with_what_to_do():
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    codes = [kind.code for kind in error_types()]
    assert len(set(codes)) == len(codes)
    assert set(codes) == set(ADVICE)
    for kind in error_types():
        assert kind.__doc__
        assert f"\n## {kind.code}\n" in page


def all_errors(kind: type[ManylabError]) -> set[type[ManylabError]]:
    return {kind}.union(*(all_errors(below) for below in kind.__subclasses__()))


def test_no_code_is_hidden_from_the_reference():
    # A package's own kinds of a documented error (the warden's Refusal) share its code; whichever are imported.
    ours = {kind.code for kind in all_errors(ManylabError) if kind.__module__.startswith("manylab.")}
    assert ours == {kind.code for kind in error_types()}


def test_the_old_recipe_s_settings_all_have_their_row():
    recipe = (
        "JupyterHub.base_url JupyterHub.hub_ip JupyterHub.admin_access JupyterHub.authenticator_class JupyterHub.ip "
        "JupyterHub.port JupyterHub.bind_url JupyterHub.ssl_cert JupyterHub.ssl_key JupyterHub.db_url "
        "Authenticator.delete_invalid_users Authenticator.admin_users Authenticator.allowed_users Spawner.cmd "
        "Spawner.notebook_dir Spawner.default_url Spawner.mem_limit Spawner.cpu_limit"
    )
    assert set(recipe.split()) <= {old.name for old in NAMES}


def test_what_replaces_an_old_name_exists():
    known = {setting.key for setting in walk.settings()}
    for old in NAMES:
        assert set(old.settings) <= known
        assert old.why
