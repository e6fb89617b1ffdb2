"""Why a broker's certificate is not accepted: librdkafka says that it is not, and no more.

Owns one more look at the certificate, once a connection has failed. It sends nothing and knows no password.
"""

from __future__ import annotations

import socket
import ssl

from dataflow.kafka_settings import KafkaSettings

PATIENCE = 5.0
"""Seconds for one broker's handshake."""


def tls_complaint(settings: KafkaSettings) -> str | None:
    """Return what is wrong with a broker's certificate, for instance that it has expired; None if nothing is found."""
    context = ssl.create_default_context(cafile=settings.security.ca)
    context.check_hostname = settings.security.verify_hostname
    complaints = (_complaint(context, *address.rsplit(":", 1)) for address in settings.brokers if ":" in address)
    return next(filter(None, complaints), None)


def _complaint(context: ssl.SSLContext, host: str, port: str) -> str | None:
    try:
        with socket.create_connection((host, int(port)), PATIENCE) as plain:
            context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {host}:{port} is not accepted: {error.verify_message}"
    except (OSError, ValueError):  # no matter of certificates: librdkafka's own words stand
        return None
    return None
