"""The HTTP client: proxies and certificates as the environment says, and no endless waiting."""

import os
import ssl
from importlib.metadata import version
from pathlib import Path

import httpx2

CONNECT_SECONDS = 30.0
STALL_SECONDS = 60.0
OTHER_PROGRAMS_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def new_client(*, stall_seconds: float = STALL_SECONDS) -> httpx2.Client:
    """Return a client for many threads; close it after use.

    `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR` are
    heeded; where the last two are not set, the bundles that requests and curl know are taken.
    A connection that brings nothing for `stall_seconds` is broken off.
    """
    agent = {"User-Agent": f"marginalia/{version('marginalia')}", "Accept-Encoding": "identity"}
    return httpx2.Client(
        follow_redirects=True,
        timeout=httpx2.Timeout(stall_seconds, connect=CONNECT_SECONDS, pool=None),
        headers=agent,
        verify=_certificates(),
    )


def _certificates() -> ssl.SSLContext | bool:
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return True
    for bundle in filter(None, map(os.environ.get, OTHER_PROGRAMS_BUNDLES)):
        if Path(bundle).is_dir():
            return ssl.create_default_context(capath=bundle)
        return ssl.create_default_context(cafile=bundle)
    return True


def certificate_problem(error: BaseException) -> str | None:
    """Return what is wrong with a server's certificate, if a request failed for good by it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the server's certificate cannot be verified: {cause.verify_message}; behind a "
                f"proxy that opens TLS, set SSL_CERT_FILE to your institution's CA bundle"
            )
        cause = cause.__cause__ or cause.__context__
    return None
