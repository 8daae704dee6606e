"""The administrator's actions at the console's pages and by letter: who looks after them is told at once, and says so when they were seen."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from armonika import policy
from armonika.trust import crypto
from armonika.trust.keys import Keyring
from armonika.verify.http import Answer, Browserlike, send
from tests.flows.test_second_factor_pages import appointed, enrolled, password_given
from tests.live import Live

GIVEN = {"en": "wrote down the credentials of a service", "fr": "remise par écrit des secrets", "ar": "كتابة بيانات اعتماد خدمة"}
UNSEEN = {"en": "Not seen by you yet: ", "fr": "Pas encore vu", "ar": "لم تطلعوا عليها بعد: "}


def signed_in(live: Live, role: str) -> tuple[Browserlike, str, str]:
    """A browser of a new member of staff with the second factor proven, their address and pseudonym."""
    subject, email, password = appointed(live, role)
    browser = password_given(live, email, password)
    enrolled(live, browser)
    return browser, email, subject


def unseen(page: Answer, language: str = "en") -> int:
    found = re.search(re.escape(UNSEEN[language]) + r"\D*(\d+)", page.text)
    return int(found.group(1)) if found else 0


def shown(page: Answer) -> str:
    found = re.search(r'name="shown" value="([\d,]+)"', page.text)
    return found.group(1) if found else ""


def test_the_officer_is_told_and_says_what_was_seen(live: Live) -> None:
    officer, email, subject = signed_in(live, "dpo")
    home, page = f"{live.console}/en/", f"{live.console}/en/administrator/"
    first = officer.get(home)
    assert 'href="/en/administrator/"' in first.text
    assert unseen(first) > 0
    listed = officer.get(page)
    assert unseen(listed) == unseen(first)
    assert email in listed.text, "whose appointment it was"
    assert "appointed a member of staff" in listed.text
    assert "gave a service its secret" in listed.text
    numbers = shown(listed)
    recorded = officer.submit(page, {"shown": numbers})
    assert recorded.status == 200
    assert 'role="status"' in recorded.text
    assert unseen(recorded) == unseen(first) - len(numbers.split(","))
    where = page
    while older := re.search(r'href="(\?before=\d+)"', recorded.text):
        where = page + older.group(1)
        recorded = officer.get(where)
        if left := shown(recorded):
            recorded = officer.submit(where, {"shown": left})
    assert unseen(officer.get(home)) == 0
    assert 'class="notice bad"' not in officer.get(home).text
    again = officer.submit_from(home, page, {"shown": numbers})
    assert (again.status, "already" in again.text) == (200, True), "a second tab"
    label = crypto.random_bytes(4).hex()
    live.command("token", "issue", "--label", label)
    assert unseen(officer.get(home)) == 1
    assert "issued a token" in officer.get(page).text
    for wrong in ("", "x", "1,,2", "999999999999", "-1", "9" * 30, "١", numbers + ",0"):
        answer = officer.submit_from(home, page, {"shown": wrong})
        assert answer.status == 422, wrong
        assert 'role="alert"' in answer.text
    assert unseen(officer.get(home)) == 1, "nothing was recorded of a list with one wrong number"
    guard, _, other = signed_in(live, "security")
    seen = guard.get(page)
    assert "Data protection officer" in seen.text
    newest = shown(seen)
    guard.submit(page, {"shown": newest})
    assert unseen(officer.get(home)) >= 1, "what the other role saw is still new here"
    for one in (subject, other):
        assert live.command("staff", "end", one).returncode == 0


@pytest.mark.parametrize("language", ["en", "fr", "ar"])
def test_the_pages_speak_three_languages(live: Live, tmp_path: Path, language: str) -> None:
    assert live.command("keys", "credentials", "site", str(tmp_path)).returncode == 0
    line = Keyring.open(live.home / "keys").journal().lines[-1]
    officer, email, subject = signed_in(live, "dpo")
    page = officer.get(f"{live.console}/{language}/administrator/")
    assert page.status == 200
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in page.text
    assert email in page.text
    assert GIVEN[language] in page.text
    assert line.reference in page.text
    assert unseen(page, language) > 0
    assert unseen(officer.get(f"{live.console}/{language}/"), language) > 0
    older = officer.get(f"{live.console}/{language}/administrator/?before=1")
    assert older.status == 200
    assert "<table" not in older.text
    assert 'class="notice"' in older.text
    assert officer.get(f"{live.console}/{language}/administrator/?before=x").status == 200
    live.command("staff", "end", subject)


def test_it_is_nobody_elses(live: Live) -> None:
    support, _, subject = signed_in(live, "support")
    page = f"{live.console}/en/administrator/"
    assert support.get(page).status == 404
    assert support.submit_from(f"{live.console}/en/", page, {"shown": "1"}).status == 404
    assert "administrator/" not in support.get(f"{live.console}/en/").text
    assert Browserlike(send).get(page).status == 302
    other_subject, other_email, password = appointed(live, "dpo")
    pending = password_given(live, other_email, password)
    assert pending.get(page).headers["location"].endswith("/second-factor/")
    for one in (subject, other_subject):
        live.command("staff", "end", one)


def test_a_letter_goes_to_the_officer_and_names_nobody(live: Live) -> None:
    to = policy.load().controller.privacy_email
    had = len(live.letters(to, 20))
    said = json.loads(live.command("staff", "appoint", "--name", "Zahra", "--email", f"{crypto.random_bytes(8).hex()}@operateur.example", "--role", "support", "--json").stdout)  # fmt: skip
    live.command("staff", "end", said["subject"])
    end = time.monotonic() + 30
    while len(letters := live.letters(to, 1)) == had and time.monotonic() < end:
        time.sleep(0.5)
    assert len(letters) > had
    text = letters[0]["subject"] + letters[0]["body"]
    for language in ("en", "fr", "ar"):
        assert f"{live.console}/{language}/administrator/" in text
    assert said["subject"] not in text
    assert "Zahra" not in text
    assert not re.search(r"[0-9a-f]{8}-|@|\d{6}", letters[0]["body"].replace(live.console, ""))
