"""TLS as a repository wants it: its own certificate authority, no verification, a certificate of our own."""

import os
import ssl
from ssl import SSLContext, SSLError

from catalog.errors import SourceRefused


async def made_to_measure(trusted: SSLContext, verify: bool, ca_pem: str | None, certificate_pem: str | None) -> SSLContext:
    """A new context that trusts the system's authorities, changed. Raises SourceRefused for what is no PEM."""
    if not verify:
        trusted.check_hostname = False
        trusted.verify_mode = ssl.CERT_NONE
    if ca_pem:
        try:
            trusted.load_verify_locations(cadata=ca_pem)
        except (SSLError, ValueError) as error:
            raise SourceRefused(f"the custom CA is not a PEM certificate: {error}") from None
    if certificate_pem:
        await _load_certificate(trusted, certificate_pem)
    return trusted


async def _load_certificate(context: SSLContext, pem: str) -> None:
    """The library reads files only; this one is in memory, so that the key is on no disk."""
    file = os.memfd_create("client-certificate")
    try:
        os.write(file, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password="")  # a key with a password is refused, not asked for
    except (SSLError, ValueError, OSError):
        raise SourceRefused("the client certificate is no PEM certificate (tls.crt) with its unencrypted key (tls.key)") from None
    finally:
        os.close(file)
