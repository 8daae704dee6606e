"""The second factor at the console's pages over HTTP: nothing opens before it, tabs and cookies behave, the operator's commands hold."""

from __future__ import annotations

import base64
import json
import re
import time
from uuid import uuid4

import pytest

from armonika.verify.http import Answer, Browserlike, send
from tests.live import Live
from tests.staff import code

PAGES = ("", "access/", "second-factor/codes/")


def appointed(live: Live, role: str = "support") -> tuple[str, str, str]:
    """A new member of staff by the operator's command: (pseudonym, address, password)."""
    email = f"{uuid4().hex}@operateur.example"
    done = live.command("staff", "appoint", "--name", "Zahra", "--email", email, "--role", role, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return said["subject"], email, said["password"]


def password_given(live: Live, email: str, password: str, language: str = "en") -> Browserlike:
    browser = Browserlike(send)
    answer = browser.submit(f"{live.console}/{language}/sign-in/", {"email": email, "password": password})
    assert answer.status == 302
    assert answer.headers["location"].endswith(f"/{language}/second-factor/")
    return browser


def key_on(page: Answer) -> bytes:
    shown = re.search(r'class="key"[^>]*>([A-Z2-7 ]+)<', page.text)
    assert shown
    return base64.b32decode(shown.group(1).replace(" ", ""))


def enrolled(live: Live, browser: Browserlike) -> tuple[bytes, list[str], int]:
    address = f"{live.console}/en/second-factor/enrol/"
    key, step = key_on(browser.get(address)), int(time.time()) // 30
    answer = browser.submit(address, {"code": code(key, step)})
    assert answer.status == 200
    return key, re.findall(r'class="key">([A-Z2-7 ]+)<', answer.text), step


def test_a_new_member_of_staff_sets_the_factor_up_and_is_asked_for_it(live: Live) -> None:
    subject, email, password = appointed(live)
    browser = password_given(live, email, password)
    for page in PAGES:
        answer = browser.get(f"{live.console}/en/{page}")
        assert (answer.status, answer.headers["location"]) == (302, "/en/second-factor/"), page
    assert browser.get(f"{live.console}/en/second-factor/").headers["location"] == "/en/second-factor/enrol/"
    shown = browser.get(f"{live.console}/en/second-factor/enrol/")
    assert key_on(shown) == key_on(browser.get(f"{live.console}/fr/second-factor/enrol/")), "a second tab shows the same key"
    assert len(key_on(shown)) == 20
    assert "<svg" in shown.text
    assert not re.search(r"style=|<script", shown.text.partition("<main")[2])
    assert "otpauth://totp/Armonika:support-" in shown.text
    assert email not in shown.text
    assert browser.submit(f"{live.console}/en/second-factor/enrol/", {"code": "000000"}).status == 422
    before = browser.jar["__Host-session"]
    key, codes, step = enrolled(live, browser)
    assert len(set(codes)) == 10
    assert browser.jar["__Host-session"] != before
    assert browser.get(f"{live.console}/en/").status == 200
    again = browser.get(f"{live.console}/en/second-factor/enrol/")
    assert key_on(again) != key, "another enrolment has another key"
    assert all(one not in again.text for one in codes), "recovery codes are shown once"
    other = password_given(live, email, password)
    assert other.submit(f"{live.console}/en/second-factor/", {"code": code(key, step)}).status == 422, "a code works once"
    arabic = "".join(chr(0x660 + int(digit)) for digit in code(key, step + 1))
    assert other.submit(f"{live.console}/ar/second-factor/", {"code": arabic}).status == 302
    assert other.get(f"{live.console}/en/").status == 200
    assert live.command("staff", "end", subject).returncode == 0
    assert other.get(f"{live.console}/en/").status == 302
    assert Browserlike(send).submit(f"{live.console}/en/sign-in/", {"email": email, "password": password}).status == 422


def test_two_tabs_and_a_stolen_cookie(live: Live) -> None:
    subject, email, password = appointed(live)
    first = password_given(live, email, password)
    key, _, step = enrolled(live, first)
    browser = password_given(live, email, password)
    stolen = Browserlike(send)
    stolen.jar["__Host-session"] = browser.jar["__Host-session"]
    assert stolen.get(f"{live.console}/en/second-factor/").status == 200, "positive control"
    assert browser.submit(f"{live.console}/en/second-factor/", {"code": code(key, step + 1)}).status == 302
    assert stolen.get(f"{live.console}/en/second-factor/").status == 302, "the secret of before is worth nothing"
    assert stolen.get(f"{live.console}/en/").status == 302
    tab = browser.submit_from(f"{live.console}/en/", f"{live.console}/en/second-factor/", {"code": code(key, step + 1)})
    assert (tab.status, tab.headers["location"]) == (302, "/en/"), "the other tab goes on, too"
    fixed = Browserlike(send)
    fixed.jar["__Host-session"] = "fixed-by-an-attacker"
    fixed.submit(f"{live.console}/en/sign-in/", {"email": email, "password": password})
    assert fixed.jar["__Host-session"] != "fixed-by-an-attacker"
    browser.submit_from(f"{live.console}/en/", f"{live.console}/en/sign-out/", {})
    assert browser.get(f"{live.console}/en/").status == 302
    live.command("staff", "end", subject)


def test_recovery_codes_at_the_page(live: Live) -> None:
    subject, email, password = appointed(live)
    _, codes, _ = enrolled(live, password_given(live, email, password))
    page = f"{live.console}/en/second-factor/recovery/"
    browser = password_given(live, email, password)
    assert browser.submit(page, {"code": "ABCD EFGH IJKL MNOP"}).status == 422
    used = browser.submit(page, {"code": codes[0].lower().replace(" ", "-")})
    assert (used.status, used.headers["location"]) == (302, "/en/second-factor/codes/")
    assert "9" in browser.get(f"{live.console}/en/second-factor/codes/").text
    assert password_given(live, email, password).submit(page, {"code": codes[0]}).status == 422
    other_subject, other_email, other_password = appointed(live)
    enrolled(live, password_given(live, other_email, other_password))
    assert password_given(live, other_email, other_password).submit(page, {"code": codes[1]}).status == 422, (
        "other people's codes"
    )
    renewed = browser.submit(f"{live.console}/en/second-factor/codes/", {})
    assert len(re.findall(r'class="key">([A-Z2-7 ]+)<', renewed.text)) == 10
    assert password_given(live, email, password).submit(page, {"code": codes[1]}).status == 422
    for one in (subject, other_subject):
        live.command("staff", "end", one)


def test_brute_force_is_slowed_down(live: Live) -> None:
    subject, email, password = appointed(live)
    enrolled(live, password_given(live, email, password))
    browser = password_given(live, email, password)
    page = f"{live.console}/en/second-factor/"
    answers = [browser.submit(page, {"code": f"{number:06d}"}) for number in range(6)]
    assert [answer.status for answer in answers] == [422] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 20
    other = password_given(live, email, password)
    assert other.submit(page, {"code": "000000"}).status == 429, "another session does not begin anew"
    live.command("staff", "end", subject)


def test_a_lost_factor_is_reset_by_the_operator(live: Live) -> None:
    subject, email, password = appointed(live)
    browser = password_given(live, email, password)
    enrolled(live, browser)
    done = live.command("staff", "reset", email.upper(), "--json")
    assert done.returncode == 0, done.stderr
    assert browser.get(f"{live.console}/en/").status == 302
    assert Browserlike(send).submit(f"{live.console}/en/sign-in/", {"email": email, "password": password}).status == 422
    again = password_given(live, email, json.loads(done.stdout)["password"])
    assert enrolled(live, again)
    for words in (("reset", "nobody@operateur.example"), ("end", str(uuid4()))):
        assert live.command("staff", *words).returncode == 1
    live.command("staff", "end", subject)


@pytest.mark.parametrize("language", ["en", "fr", "ar"])
def test_the_review_is_for_whom_the_policy_names(live: Live, language: str) -> None:
    subject, email, password = appointed(live, "security")
    browser = password_given(live, email, password)
    enrolled(live, browser)
    page = f"{live.console}/{language}/access/"
    shown = browser.get(page)
    assert shown.status == 200
    assert email in shown.text
    digest = re.search(r'name="list" value="([0-9a-f]{64})"', shown.text)
    assert digest
    for wrong in ("", "zz", "00" * 32):
        assert browser.submit(page, {"list": wrong}).status == 409
    recorded = browser.submit(page, {"list": digest.group(1)})
    assert recorded.status == 200
    assert 'role="status"' in recorded.text
    report = json.loads(live.command("access", "review", "--json").stdout)
    assert report["reviewed_at"] is not None
    assert report["due"] == []
    assert email not in json.dumps(report)
    other_subject, other_email, other_password = appointed(live)
    other = password_given(live, other_email, other_password)
    enrolled(live, other)
    assert other.get(page).status == 404
    assert other.submit_from(f"{live.console}/en/", page, {"list": digest.group(1)}).status == 404
    for one in (subject, other_subject):
        live.command("staff", "end", one)


def test_the_sample_gives_codes(live: Live) -> None:
    address, password = live.sign_in("recruiting")
    for name in ("recruiting", address):
        done = live.command("sample", "code", name)
        assert done.returncode == 0
        assert re.fullmatch(r"\d{6}\n", done.stdout)
    assert live.command("sample", "code", "nobody").returncode == 1
    browser = password_given(live, address, password)
    assert (
        browser.submit(f"{live.console}/en/second-factor/", {"code": live.command("sample", "code", "recruiting").stdout}).status
        == 302
    )
    assert browser.get(f"{live.console}/en/").status == 200
