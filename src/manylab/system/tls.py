"""Certificates: read and checked before anything is served with them."""

from __future__ import annotations

import ssl
from pathlib import Path

from manylab.base.errors import ConfigError


def read_pair(certificate: str, key: str) -> tuple[str, str]:
    """The texts of a certificate (with its chain) and its key.

    Raises ConfigError when one cannot be read, the key has a passphrase, or they do not belong together.
    """
    texts = []
    for name, path in (("https.certificate", certificate), ("https.key", key)):
        try:
            texts.append(Path(path).read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not PEM"
            raise ConfigError(
                f"{name}: {path} cannot be read: {why}", hint="both are PEM files, and absolute paths"
            ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A passphrase would be asked for on the terminal: "" makes that an error instead.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise ConfigError(
            f"https: {certificate} and {key} cannot be used together: {error.reason or error}",
            hint="the key must be the certificate's own, PEM, without a passphrase",
        ) from None
    return texts[0], texts[1]
