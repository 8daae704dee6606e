"""A small HTTP client of the verifier's own, with a cookie jar that it can look into."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit


@dataclass
class Answer:
    """One answer: header names in lower case; several Set-Cookie lines kept apart."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


Send = Callable[[str, str, Mapping[str, str], bytes | None], Answer]


def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
    """One request, no redirect followed."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "localhost", parts.port, timeout=20)
    try:
        connection.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, dict(headers))
        response = connection.getresponse()
        raw = response.read()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, response.headers.get_all("Set-Cookie") or [], raw)
    finally:
        connection.close()


@dataclass
class Browserlike:
    """Keeps cookies as a browser does; `blocked` names cookies that are thrown away (ablation)."""

    send: Send
    jar: dict[str, str] = field(default_factory=dict)
    blocked: frozenset[str] = frozenset()
    seen: list[str] = field(default_factory=list)

    def request(self, method: str, url: str, form: Mapping[str, str] | None = None) -> Answer:
        """A request with the cookies so far; a form is sent as a page would send it."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}
        body = None
        if form is not None:
            body = urlencode(form).encode()
            headers |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"{urlsplit(url).scheme}://{urlsplit(url).netloc}",
            }
        answer = self.send(method, url, headers, body)
        for line in answer.cookies:
            self.seen.append(line)
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            if "max-age=0" in line.lower() or name in self.blocked:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value
        return answer

    def get(self, url: str) -> Answer:
        """GET."""
        return self.request("GET", url)

    def submit(self, url: str, form: Mapping[str, str]) -> Answer:
        """Opens the page for its CSRF token, then sends the form."""
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(url).text)
        return self.request("POST", url, {"csrfmiddlewaretoken": found.group(1) if found else "", **form})

    def submit_from(self, page: str, target: str, form: Mapping[str, str]) -> Answer:
        """Sends a form to `target` with the CSRF token of another page."""
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(page).text)
        return self.request("POST", target, {"csrfmiddlewaretoken": found.group(1) if found else "", **form})
