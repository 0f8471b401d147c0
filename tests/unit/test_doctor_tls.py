"""Certificates, with real ones from the `openssl` program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time

import pytest

from manylab.cli.doctor import tls

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not here")


def make(folder, name, *more):
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    names = "subjectAltName=DNS:lab.example.org,DNS:*.labs.example.org"
    asked = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-addext", names]
    subprocess.run([*asked, "-keyout", key, "-out", certificate, *more], check=True, capture_output=True)
    return certificate, key


def test_a_good_certificate_is_read_without_anything_but_ssl(tmp_path):
    found = tls.describe(*make(tmp_path, "a", "-days", "90"))
    assert tls.judge_validity(found, time.time()) is None
    assert tls.judge_validity(found, time.time() + 80 * 86400).level == "warning"
    assert tls.judge_validity(found, time.time() + 91 * 86400).level == "problem"


def test_a_certificate_and_a_key_of_different_pairs_are_refused(tmp_path):
    certificate, _ = make(tmp_path, "a", "-days", "90")
    _, key = make(tmp_path, "b", "-days", "90")
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        tls.describe(certificate, key)


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("0.0.0.0", True),
        ("lab.example.org", True),
        ("x.labs.example.org", True),
        ("example.org", False),
        ("10.0.0.1", False),
    ],
)
def test_the_certificate_s_names_are_compared_with_the_address(tmp_path, address, fits):
    found = tls.describe(*make(tmp_path, "a", "-days", "90"))
    assert (tls.judge_name(found, address) == "") is fits
