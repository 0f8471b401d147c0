"""The certificate: there, readable, of this key, not expired, and the one that is in use."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from manylab.cli.doctor.scene import Scene, Skip
from manylab.cli.doctor.table import Finding, check, problem, warning

_DAY = 86400.0
# Let's Encrypt renews 30 days before the end; with 14 left something is wrong with the renewal.
SOON = 14 * _DAY
# X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED (openssl-verification-options)
_NOT_YET, _EXPIRED = 9, 10


def describe(certificate: Path, key: Path) -> Mapping[str, Any]:
    """The certificate as ssl.getpeercert() has it, learnt from a handshake with itself in memory: ssl reads no leaf
    otherwise.

    Raises ssl.SSLError when the files do not belong together or cannot be understood, SSLCertVerificationError when
    it is not valid now, OSError.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key, password=_no_passphrase)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # type: ignore[attr-defined,unused-ignore]
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[int] = set()
    # Each side waits for the other a few times; ten rounds are plenty for TLS 1.2 and 1.3.
    for _ in range(10):
        for side in (one, other):
            try:
                side.do_handshake()
                done.add(id(side))
            except ssl.SSLWantReadError:
                continue
        if len(done) == 2:
            return one.getpeercert() or {}
    raise ssl.SSLError("the certificate could not be tried")


def _no_passphrase() -> str:
    raise ssl.SSLError("the key has a passphrase")


def judge_validity(certificate: Mapping[str, Any], now: float) -> Finding | None:
    """Pure. certificate: as ssl.getpeercert() has it."""
    left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - now
    if left <= 0:
        return problem("the certificate has expired")
    return warning(f"the certificate expires in {int(left // _DAY)} days") if left < SOON else None


def judge_name(certificate: Mapping[str, Any], address: str) -> str:
    """What is wrong when people would use this name; "" when nothing, or when any address is listened on. Pure."""
    names = [str(value) for _, value in certificate.get("subjectAltName", ())]
    try:
        wildcard = ip_address(address).is_unspecified or ip_address(address).is_loopback
    except ValueError:
        wildcard = address == "localhost"
    if not names:
        return "the certificate names nobody (no subjectAltName): browsers refuse it"
    fits = any(name == address or (name.startswith("*.") and address.partition(".")[2] == name[2:]) for name in names)
    return (
        ""
        if wildcard or fits
        else f"the certificate is for {', '.join(names)[:200]}, and the site listens on {address}"
    )


def _files(scene: Scene) -> tuple[Path, Path]:
    if not scene.config.https.enabled:
        raise Skip("the site has no https")
    return Path(str(scene.config.https.certificate)), Path(str(scene.config.https.key))


@check(
    "tls-certificate",
    "The certificate is there, belongs to the key, and is valid",
    why=(
        "With a missing or wrong certificate the proxy does not start; with an expired one every browser warns "
        "people away."
    ),
    mend="renew the certificate (certbot renew, for one), then: sudo manylab apply",
)
def tls_certificate(scene: Scene) -> Iterator[Finding]:
    certificate, key = _files(scene)
    for path in (certificate, key):
        if not path.is_file():
            yield problem(f"{path} is not there")
            return
    try:
        found = describe(certificate, key)
    except ssl.SSLCertVerificationError as error:
        words = {_EXPIRED: "has expired", _NOT_YET: "is not valid yet"}
        yield problem(f"{certificate} {words.get(error.verify_code, f'is refused: {error.verify_message}')}")
        return
    except ssl.SSLError as error:
        wrong = (
            "are not of the same pair"
            if "KEY_VALUES_MISMATCH" in str(error)
            else f"cannot be used: {error.reason or error}"
        )
        yield problem(f"{certificate} and {key} {wrong}")
        return
    if verdict := judge_validity(found, time.time()):
        yield verdict
    if wrong := judge_name(found, str(scene.config.http.address)):
        yield warning(wrong)


@check(
    "tls-stale",
    "The proxy uses the certificate that the configuration names",
    why="The proxy has a copy of its own; after a renewal it goes on with the old one until it expires.",
    mend="sudo manylab apply; as a hook of the renewal: certbot renew --deploy-hook 'manylab apply'",
)
def tls_stale(scene: Scene) -> Iterator[Finding]:
    certificate, _ = _files(scene)
    copy = scene.layout.proxy_state / "certificate.pem"
    if not copy.is_file():
        raise Skip("the proxy has no certificate yet")
    if certificate.is_file() and copy.read_bytes() != certificate.read_bytes():
        yield warning(f"{copy} is not what {certificate} is now")
