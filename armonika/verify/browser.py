"""A crawl of the site in a real browser, where one is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from armonika.verify.context import Context
from armonika.verify.frame import CannotProbe

ANONYMOUS = ("", "privacy/", "trust/", "register/", "demo/", "sign-in/", "forgotten/", "nothing-here/")
MEMBER = ("me/", "me/readers/", "me/delete/")
_STORAGE = """async () => ({
  localStorage: localStorage.length, sessionStorage: sessionStorage.length, indexedDB: (await indexedDB.databases()).length,
  caches: (await caches.keys()).length, serviceWorkers: (await navigator.serviceWorker.getRegistrations()).length })"""
_PROBE = """() => new Promise(done => { const image = new Image(); image.onload = () => done(false); image.onerror = () => setTimeout(() => done(true), 0);
  document.addEventListener('securitypolicyviolation', () => done(true)); image.src = 'http://probe.invalid/p.gif'; setTimeout(() => done(false), 2000); })"""


@dataclass
class Crawl:
    """What a browser saw."""

    pages: list[str] = field(default_factory=list)
    cookies: set[str] = field(default_factory=set)
    storage: dict[str, int] = field(default_factory=dict)
    origins: set[str] = field(default_factory=set)
    requests: int = 0
    probe_blocked: bool = False


def chromium() -> str | None:
    """Debian's browser, or None."""
    return shutil.which("chromium")


def crawl(context: Context, script: str = "") -> Crawl:
    """Visits every page, anonymous and signed in. `script` is run on each page (sabotage). Raises CannotProbe without a browser."""
    program = chromium()
    if program is None or importlib.util.find_spec("playwright") is None:
        raise CannotProbe("no browser here: install chromium, and run `make test` once")
    from playwright.sync_api import sync_playwright

    canary = context.member()
    seen = Crawl()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            chromium_sandbox=os.geteuid() != 0,
            args=["--disable-background-networking", "--no-first-run"],
        )
        try:
            page = browser.new_context().new_page()
            page.set_default_timeout(15000)

            def asked(address: str) -> None:
                seen.requests += 1
                if urlsplit(address).scheme in ("http", "https") and "probe.invalid" not in address:
                    seen.origins.add(urlsplit(address).netloc)

            page.on("request", lambda request: asked(request.url))

            def visit(path: str) -> None:
                page.goto(context.site(path))
                seen.pages.append(path)
                if script:
                    page.evaluate(script)
                for name, count in page.evaluate(_STORAGE).items():
                    seen.storage[name] = max(seen.storage.get(name, 0), count)

            for language in context.policy.languages:
                for path in ANONYMOUS:
                    visit(f"/{language}/{path}")
            seen.probe_blocked = bool(page.evaluate(_PROBE))
            for _ in range(6):
                page.goto(context.site("/en/sign-in/"))
                page.fill("#f-email", canary.values["email"])
                page.fill("#f-password", canary.password)
                page.click("main button")
                page.wait_for_load_state()
                if page.url.endswith("/me/"):
                    break
                time.sleep(5)  # slowed down after many tries: wait and go on
            for language in context.policy.languages:
                for path in MEMBER:
                    visit(f"/{language}/{path}")
            seen.cookies = {cookie["name"] for cookie in page.context.cookies()}
        finally:
            browser.close()
    return seen
