"""Certificates that tests make for themselves, as PEM files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class Authority:
    """A certificate authority of its own.

    Parameters
    ----------
    folder : Path
        Where its files go; `ca` is the one to trust.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._authority = folder, trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(
        self, name: str, host: str | None = None, *, expired: bool = False, password: bytes | None = None
    ) -> tuple[Path, Path]:
        """Issue a certificate, and return its file and that of its private key (PKCS #8, as Java wants it).

        Parameters
        ----------
        name : str
            Its common name, and the name of the files.
        host : str, optional
            The host or address that it speaks for; `name` by default.
        expired : bool
            Whether it was valid until yesterday only.
        password : bytes, optional
            Encrypts the key.
        """
        yesterday = datetime.now(timezone.utc) - timedelta(days=1)
        before, after = (yesterday - timedelta(days=9), yesterday) if expired else (None, None)
        issued = self._authority.issue_cert(host or name, common_name=name, not_before=before, not_after=after)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        secret = BestAvailableEncryption(password) if password else NoEncryption()
        private = load_pem_private_key(issued.private_key_pem.bytes(), None)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
        return certificate, key

    def keystore(self, name: str, host: str, *, expired: bool = False) -> Path:
        """Issue a certificate, and return one file with it and its key, as Apache Kafka wants it."""
        certificate, key = self.issue(name, host, expired=expired)
        both = self._folder / f"{name}.keystore.pem"
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        return both
