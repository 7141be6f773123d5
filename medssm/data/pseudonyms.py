"""Pseudonyms: identifiers leave the scanner's words behind, by a secret of the site."""

import hmac
import secrets
from hashlib import blake2b
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import write_text

_FILE = "archive_secret.key"
_LENGTH = 12


class Pseudonyms:
    """HMAC-BLAKE2b of identifiers under one secret; without it nothing can be traced back.

    Args:
        secret: Of the site.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __call__(self, identifier: str) -> str:
        """The pseudonym of an identifier; nothing for nothing."""
        if not identifier:
            return ""
        return hmac.new(
            self._secret, identifier.encode("utf-8", "surrogateescape"), blake2b
        ).hexdigest()[: 2 * _LENGTH]

    @property
    def fingerprint(self) -> str:
        """Tells secrets apart without telling them."""
        return self("fingerprint of the secret")


def open_pseudonyms(home: Path, secret: str | None = None) -> Pseudonyms:
    """The site's pseudonyms.

    Args:
        home: Where a secret is made on first use, readable by its owner only.
        secret: A file that holds one already.

    Raises:
        BadDataError: The file is missing or holds too little.
    """
    file = home / _FILE if secret is None else Path(secret).expanduser()
    if secret is None and not file.is_file():
        write_text(file, secrets.token_hex(32) + "\n")
        file.chmod(0o600)
    if not file.is_file():
        raise BadDataError(f"{file}: the secret for pseudonyms is not there.")
    content = file.read_bytes().strip()
    if len(content) < 16:
        raise BadDataError(
            f"{file}: the secret has {len(content)} bytes. Expected 16 or more, e.g. of: "
            "openssl rand -hex 32"
        )
    return Pseudonyms(content)
