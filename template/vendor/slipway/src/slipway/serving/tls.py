"""HTTPS: a certificate and its key, and newer ones that take their place while the server runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from slipway.base.errors import MlopsError
from slipway.settings.access import Tls

logger = logging.getLogger(__name__)


class Certificate:
    """A certificate that may be renewed: connections that begin afterwards get the new one."""

    def __init__(self, files: Tls) -> None:
        """Raises `MlopsError` for files that are no certificate with its key."""
        self._files = files
        self._seen = self._times()
        try:
            self.context = _context(files)
        except OSError as error:
            raise MlopsError(
                f"serve.tls: {files.certificate} and {files.key} are no certificate with its key: {error}",
                "name files in PEM that belong together, and that the server may read",
            ) from None

    def reload(self) -> None:
        """Take up files that have changed; what cannot be used leaves the one before in its place."""
        times = self._times()
        if times == self._seen:
            return
        self._seen = times
        try:
            _context(self._files)  # tried on another one: a half-written file must not spoil what works
            self.context.load_cert_chain(self._files.certificate, self._files.key)
        except OSError as error:
            logger.error("the certificate before stays, as the new one cannot be used: %s", error)

    def _times(self) -> list[int]:
        paths = (Path(self._files.certificate), Path(self._files.key))
        return [path.stat().st_mtime_ns if path.is_file() else 0 for path in paths]


def _context(files: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    return context
