"""What of the machine makes a nursery an old one."""

from __future__ import annotations

import os

import pytest

from manylab.warden.facts import Facts


@pytest.fixture
def root(tmp_path):
    for path in ("usr/share/fonts/truetype/dejavu", "etc/ssl/certs", "usr/bin", "usr/lib/python3.13"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "usr/bin/python3.13").write_text("")
    (tmp_path / "usr/share/utc").write_text("UTC")
    (tmp_path / "usr/share/paris").write_text("CET")
    (tmp_path / "etc/localtime").symlink_to(tmp_path / "usr/share/utc")
    return tmp_path


def test_nothing_happens_where_nothing_changes(root):
    facts = Facts(root / "usr/bin/python3.13", root)
    (root / "etc/hosts").write_text("127.0.0.1 localhost")
    assert facts.changed() is None


def _link(root):
    (root / "etc/localtime").unlink()
    (root / "etc/localtime").symlink_to(root / "usr/share/paris")


def _old_file(root):
    (root / "usr/share/fonts/truetype/dejavu/x.ttf").write_text("")
    os.utime(root / "usr/share/fonts/truetype/dejavu", (0, 0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "usr/share/fonts/wqy").mkdir(), "fonts"),
        (_old_file, "fonts"),
        (_link, "time zones"),
        (lambda root: (root / "usr/share/utc").write_text("GMT"), "time zones"),
        (lambda root: (root / "etc/ld.so.cache").write_text(""), "shared libraries"),
        (lambda root: (root / "etc/ssl/certs/0.pem").write_text(""), "certificates"),
        (lambda root: (root / "usr/lib/python3.13/new.py").write_text(""), "Python"),
    ],
)
def test_what_changed_is_named(root, change, said):
    facts = Facts(root / "usr/bin/python3.13", root)
    change(root)
    assert str(facts.changed()).startswith(said)
    assert Facts(root / "usr/bin/python3.13", root).changed() is None
