"""The journeys of visitor, member and staff in a real browser, in three languages, with axe on every page."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live import Live
from tests.staff import code

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed (apt-get install chromium libatomic1)"),
]
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
WORDS = {"en": "delete", "fr": "supprimer", "ar": "حذف"}
ARGUMENTS = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=os.geteuid() != 0, args=ARGUMENTS
        )
        yield started
        started.close()


class Watched:
    """A page that keeps every console error and every request to another origin."""

    def __init__(self, browser: Browser, origin: str, dark: bool = False, width: int = 1280) -> None:
        self.page: Page = browser.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}
        ).new_page()
        self.page.set_default_timeout(15000)
        self.errors: list[str] = []
        self.page.on(
            "console",
            lambda message: (
                self.errors.append(message.text) if message.type == "error" and "status of 4" not in message.text else None
            ),
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "request", lambda request: self.errors.append(f"asked {request.url}") if not request.url.startswith(origin) else None
        )

    def looked(self, name: str) -> None:
        """Takes a picture, runs axe, and fails on anything it or the console found."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
        found = Axe().run(self.page)
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        assert not self.errors, self.errors
        assert self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), (
            f"{name} is wider than the window"
        )


def link_of(live: Live, address: str) -> str:
    letters = live.letters(address)
    assert letters, "no letter arrived"
    found = re.search(r"http://\S+", letters[0]["body"])
    assert found
    return found.group()


@pytest.mark.parametrize("language", ["en", "fr", "ar"])
def test_a_member_registers_sees_exports_corrects_and_deletes(live: Live, browser: Browser, language: str) -> None:
    watched = Watched(browser, live.site, width=360 if language == "fr" else 1280)
    page = watched.page
    address, password = f"{uuid4().hex}@membre.example", "un cheval agrafe la batterie"
    for path in ("", "privacy/", "trust/"):
        page.goto(f"{live.site}/{language}/{path}")
        watched.looked(f"{language}-{path.strip('/') or 'home'}")
    assert page.locator("html").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")
    page.goto(f"{live.site}/{language}/register/")
    page.click("main form button")
    expect(page.locator("[role=alert]")).to_be_visible()
    watched.looked(f"{language}-register-faults")
    for name, value in {
        "name": "نور Benali",
        "email": address,
        "company": "SARL Essai",
        "role": "Directrice",
        "password": password,
    }.items():
        page.fill(f"#f-{name}", value)
    page.check("#f-professional")
    page.click("main form button")
    expect(page.locator("[role=status]")).to_be_visible()
    watched.looked(f"{language}-registered")
    page.goto(link_of(live, address))
    watched.looked(f"{language}-confirm")
    page.click("main form button")
    page.goto(f"{live.site}/{language}/sign-in/")
    page.fill("#f-email", address.upper())
    page.fill("#f-password", "not the password at all")
    page.click("main form button")
    expect(page.locator("[role=alert]")).to_be_visible()
    page.fill("#f-password", password)
    page.click("main form button")
    page.wait_for_url(f"**/{language}/me/")
    expect(page.get_by_text(address)).to_be_visible()
    watched.looked(f"{language}-me")
    with page.expect_download() as download:
        page.locator("form[action$='/export/'] button").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert address in archive.read("data/account.json").decode()
    page.goto(f"{live.site}/{language}/me/readers/")
    watched.looked(f"{language}-readers")
    page.goto(f"{live.site}/{language}/me/")
    page.locator("a[href*='/me/correct/']").click()
    watched.looked(f"{language}-correct")
    page.fill("#f-name", "Nour Corrigée")
    page.click("main form button")
    page.goto(f"{live.site}/{language}/me/")
    expect(page.get_by_text("Nour Corrigée")).to_be_visible()
    page.goto(f"{live.site}/{language}/me/delete/")
    watched.looked(f"{language}-delete")
    page.fill("#f-word", WORDS[language])
    page.fill("#f-password", password)
    page.click("main form button")
    expect(page.locator("[role=status]")).to_be_visible()
    watched.looked(f"{language}-erased")
    page.goto(f"{live.site}/{language}/me/")
    assert "/sign-in/" in page.url
    page.context.close()


@pytest.mark.parametrize("language", ["en", "fr", "ar"])
def test_staff_find_a_person_for_a_reason_and_the_person_sees_it(live: Live, browser: Browser, language: str) -> None:
    watched = Watched(browser, live.console, dark=language == "ar")
    page = watched.page
    address, password = live.sign_in("support")
    page.goto(f"{live.console}/{language}/")
    page.fill("#f-email", address)
    page.fill("#f-password", password)
    watched.looked(f"{language}-console-sign-in")
    page.click("main form button")
    page.wait_for_url("**/second-factor/")
    page.fill("#f-code", live.code("support"))
    page.click("main form button")
    page.wait_for_url(f"**/{language}/")
    member, member_password = live.sign_in("admin")
    page.fill("#f-email", member.upper())
    page.fill("#f-reference", "T-1204")
    page.click("main form button")
    expect(page.locator("section details").first).to_be_visible()
    assert not page.locator("section details p").first.is_visible(), "values are masked until they are shown"
    watched.looked(f"{language}-console-found")
    page.locator("section details summary").first.click()
    expect(page.locator("section details p").first).to_be_visible()
    page.fill("#f-email", "nobody@organisation1.example")
    page.click("main form button")
    expect(page.locator("section [role=status]")).to_be_visible()
    page.context.close()
    own = Watched(browser, live.site)
    own.page.goto(f"{live.site}/{language}/sign-in/")
    own.page.fill("#f-email", member)
    own.page.fill("#f-password", member_password)
    own.page.click("main form button")
    own.page.wait_for_url("**/me/")
    own.page.goto(f"{live.site}/{language}/me/readers/")
    expect(own.page.get_by_text("T-1204").first).to_be_visible()
    own.looked(f"{language}-readers-with-staff")
    own.page.context.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("language", ["en", "fr", "ar"])
def test_staff_set_up_and_use_a_second_factor_and_review_access(live: Live, browser: Browser, language: str, width: int) -> None:
    email = f"{uuid4().hex}@operateur.example"
    done = live.command("staff", "appoint", "--name", "زهرة Benali", "--email", email, "--role", "dpo", "--json")
    said = json.loads(done.stdout)
    watched = Watched(browser, live.console, dark=width == 360, width=width)
    page, name = watched.page, f"{language}-{width}"

    def sign_in() -> None:
        page.goto(f"{live.console}/{language}/sign-in/")
        page.fill("#f-email", email)
        page.fill("#f-password", said["password"])
        page.click("main form button")

    sign_in()
    page.wait_for_url("**/second-factor/enrol/")
    expect(page.locator("svg.qr")).to_be_visible()
    watched.looked(f"{name}-enrol")
    page.fill("#f-code", "000000")
    page.click("main form button")
    expect(page.locator("[role=alert]")).to_be_visible()
    watched.looked(f"{name}-enrol-fault")
    key = base64.b32decode(page.locator("bdi.key").inner_text().replace(" ", ""))
    step = int(time.time()) // 30
    page.fill("#f-code", code(key, step))
    page.keyboard.press("Enter")
    expect(page.locator("ol.codes li")).to_have_count(10)
    watched.looked(f"{name}-recovery-codes")
    spare = page.locator("ol.codes bdi").first.inner_text()
    page.click("main a.button")
    page.wait_for_url(f"**/{language}/")
    page.goto(f"{live.console}/{language}/access/")
    watched.looked(f"{name}-access")
    page.click("main form button")
    expect(page.locator("[role=status]")).to_be_visible()
    watched.looked(f"{name}-access-recorded")
    page.goto(f"{live.console}/{language}/")
    expect(page.locator("main [role=status] a")).to_be_visible()
    watched.looked(f"{name}-console-told")
    page.locator("main [role=status] a").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/administrator/")
    watched.looked(f"{name}-administrator")
    page.locator("main form button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[role=status]")).to_be_visible()
    watched.looked(f"{name}-administrator-seen")
    page.goto(f"{live.console}/{language}/administrator/?before=1")
    expect(page.locator("main p.notice:not(.bad, .good)")).to_be_visible()
    watched.looked(f"{name}-administrator-empty")
    page.goto(f"{live.console}/{language}/second-factor/codes/")
    watched.looked(f"{name}-factor-state")
    page.click("header form button")
    sign_in()
    page.wait_for_url("**/second-factor/")
    assert page.locator("#f-code").get_attribute("autocomplete") == "one-time-code"
    assert page.locator("#f-code").get_attribute("inputmode") == "numeric"
    page.fill("#f-code", code(key, step))
    page.click("main form button")
    expect(page.locator("[role=alert]")).to_be_visible()
    watched.looked(f"{name}-code-used")
    page.click("main p a")
    page.wait_for_url("**/recovery/")
    watched.looked(f"{name}-recovery")
    page.fill("#f-code", spare.lower())
    page.click("main form button")
    page.wait_for_url("**/codes/")
    page.context.close()
    assert live.command("staff", "end", said["subject"]).returncode == 0


def test_pages_work_without_javascript_in_the_dark_and_at_360_pixels(live: Live, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page = context.new_page()
    page.set_default_timeout(15000)
    page.goto(f"{live.site}/ar/demo/")
    for name, value in {"name": "زائر", "email": "z@visiteur.example", "company": "شركة", "role": "مدير"}.items():
        page.fill(f"#f-{name}", value)
    page.click("main form button")
    expect(page.locator("[role=status]")).to_be_visible()
    context.close()
    for language in ("en", "ar"):
        watched = Watched(browser, live.site, dark=True, width=360)
        for path in ("", "register/", "sign-in/", "forgotten/", "privacy/", "nothing/"):
            watched.page.goto(f"{live.site}/{language}/{path}")
            watched.looked(f"{language}-dark-{path.strip('/') or 'home'}")
        watched.page.context.close()
