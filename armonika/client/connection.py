"""How the API is reached: address, token, timeouts and TLS. The same for both clients."""

from __future__ import annotations

import re
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from armonika.client.bounds import PATIENCE
from armonika.client.errors import ConnectionFailed

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/=]{20,200}")
CALL = "Armonika-Call"
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


def options(address: str, token: str | None, token_file: Path | str | None, verify: ssl.SSLContext | Path | str | None,
            cert: tuple[str, str] | None, timeout: httpx.Timeout | float) -> tuple[dict[str, Any], ssl.SSLContext | None]:  # fmt: skip
    """Arguments of httpx.Client and httpx.AsyncClient, and how TLS is done, if at all. Raises ValueError for an unusable address or token (the message never holds the token),
    OSError or ssl.SSLError for files that cannot be used.

    A token goes over TLS only, or to this very machine (RFC 6750 §5.3). Proxies, trust and sign-ins from the environment are not used, and
    redirects are not followed: the token goes to the address given and nowhere else.
    """
    url = _url(address)
    if url is None:
        raise ValueError("the address is none")
    if url.scheme != "https" and not (url.scheme == "http" and url.host in _LOOPBACK):
        raise ValueError("the address must be https://…, or http:// on this machine")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("the address must have no user, query or fragment")
    if (token is None) == (token_file is None):
        raise ValueError("give the token, or the file that holds it")
    secret = token if token is not None else Path(token_file or "").read_text().strip()
    if not _TOKEN.fullmatch(secret):
        raise ValueError("the token is not of the form of a token")
    # Packed answers are neither asked for nor taken: they could unpack to anything.
    headers = {"Authorization": f"Bearer {secret}", "User-Agent": "armonika-client/1", "Accept-Encoding": "identity"}
    named = {
        "base_url": url, "headers": headers, "timeout": timeout, "trust_env": False, "follow_redirects": False,
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
    }  # fmt: skip
    return named, context(verify, cert) if url.scheme == "https" else None


def _url(address: str) -> httpx.URL | None:
    try:
        return httpx.URL(address)
    except httpx.InvalidURL:
        return None


def patience(timeout: httpx.Timeout | float | None) -> float | None:
    """Seconds that a whole answer may take, or a line of an export; None where reading may take for ever."""
    read = httpx.Timeout(timeout).read
    return None if read is None else read * PATIENCE


def context(verify: ssl.SSLContext | Path | str | None, cert: tuple[str, str] | None) -> ssl.SSLContext:
    """What servers are trusted (the system's authorities, or those of a file) and who this client is: certificate and key files, for mutual TLS. Raises
    ValueError for a context that lets anybody be the server: the token would be theirs."""
    if isinstance(verify, ssl.SSLContext):
        made = verify
        if made.verify_mode is not ssl.CERT_REQUIRED or not made.check_hostname:
            raise ValueError("the context must check the server's certificate and name")
    else:
        made = ssl.create_default_context(cafile=verify)
        # Python takes a file for the session's keys from SSLKEYLOGFILE.
        made.keylog_filename = None  # type: ignore[assignment]
    if cert is not None:
        made.load_cert_chain(*cert)
    return made


def named() -> dict[str, str]:
    """A name for one sending of a request, which this API gives back with its answer."""
    return {CALL: uuid4().hex}


def answered(response: httpx.Response) -> bool:
    """Whether an answer is to this very request. A connection on which one answer too many came, from a proxy that lost count, gives each request the
    answer of the one before."""
    sent: str = response.request.headers[CALL]
    return bool(response.headers.get(CALL, sent) == sent)


def failed(error: httpx.RequestError | TimeoutError) -> ConnectionFailed:
    """The error without what it held: httpx keeps the request, and some messages quote it."""
    if isinstance(error, httpx.ConnectError):
        return ConnectionFailed(f"no connection: {error}")
    return ConnectionFailed(f"no whole answer came: {type(error).__name__}")
