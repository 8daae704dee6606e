"""Pages over HTTP against the running system: bad input, forged forms, other people's ids, who may see what."""

from __future__ import annotations

import re
import time
from uuid import uuid4

import psycopg
import pytest

from armonika.settings import Settings
from armonika.store.embedded import Embedded
from armonika.verify.http import Browserlike, send
from tests.live import Live

PUBLIC = ("", "privacy/", "trust/", "demo/", "register/", "sign-in/", "forgotten/", "confirm/x/", "reset/x/")
MEMBER = ("me/", "me/readers/", "me/delete/", f"me/correct/{uuid4()}/")


def visitor() -> Browserlike:
    return Browserlike(send)


def signed_in(live: Live, role: str) -> Browserlike:
    address, password = live.sign_in(role)
    browser = visitor()
    base = live.site if role in ("admin", "billing", "developer") else live.console
    assert browser.submit(f"{base}/en/sign-in/", {"email": address, "password": password}).status == 302
    if base == live.console:
        assert browser.submit(f"{base}/en/second-factor/", {"code": live.code(role)}).status == 302
    return browser


@pytest.mark.parametrize("language", ["en", "fr", "ar"])
def test_every_address_has_its_answer_for_each_kind_of_visitor(live: Live, language: str) -> None:
    member = signed_in(live, "billing")
    for path in PUBLIC:
        assert visitor().get(f"{live.site}/{language}/{path}").status == 200, path
    for path in MEMBER:
        answer = visitor().get(f"{live.site}/{language}/{path}")
        assert answer.status == 302, path
        assert "/sign-in/" in answer.headers["location"]
        assert member.get(f"{live.site}/{language}/{path}").status == (404 if "correct" in path else 200), path
    assert visitor().get(f"{live.site}/{language}/nothing/").status == 404
    assert member.get(f"{live.console}/{language}/").status == 302, "a member's cookie opens nothing at the console"
    assert visitor().get(f"{live.site}/").status == 302


def test_every_view_says_whether_it_is_public(live: Live) -> None:
    from armonika.doors.console import access, administrator, second_factor
    from armonika.doors.console import pages as console
    from armonika.doors.portal import privacy
    from armonika.doors.site import account, pages
    from armonika.web import common

    views = [
        getattr(module, name)
        for module in (console, second_factor, access, administrator, privacy, account, pages, common)
        for name in dir(module)
        if callable(getattr(module, name))
        and getattr(getattr(module, name), "__module__", "") == module.__name__
        and not name.startswith("_")
    ]
    named = [view for view in views if "request" in getattr(view, "__annotations__", {})]
    assert len(named) >= 24
    assert all(getattr(view, "armonika_access", None) in ("public", "first-factor", "signed-in") for view in named)
    assert {view.__name__ for view in named if view.armonika_access == "first-factor"} == {"code", "recovery", "enrol"}


def test_a_forged_form_changes_nothing(live: Live) -> None:
    form = {"name": "N", "email": f"{uuid4().hex}@x.example", "company": "C", "role": "R"}
    assert visitor().request("POST", f"{live.site}/en/demo/", form).status == 403
    other = visitor()
    other.get(f"{live.site}/en/demo/")
    assert other.request("POST", f"{live.site}/en/demo/", {**form, "csrfmiddlewaretoken": "x" * 64}).status == 403
    member = signed_in(live, "developer")
    assert member.request("POST", f"{live.site}/en/sign-out/", {}).status == 403
    assert member.get(f"{live.site}/en/me/").status == 200
    assert member.get(f"{live.site}/en/sign-out/").status == 405


@pytest.mark.parametrize(
    "target", ["//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "\\\\evil.example"]
)
def test_a_sign_in_never_leads_elsewhere(live: Live, target: str) -> None:
    address, password = live.sign_in("billing")
    answer = visitor().submit(f"{live.site}/en/sign-in/", {"email": address, "password": password, "next": target})
    assert answer.status == 302
    assert answer.headers["location"] == "/en/me/"


def test_sessions_are_new_at_each_sign_in_and_dead_after_sign_out(live: Live) -> None:
    address, password = live.sign_in("developer")
    browser = visitor()
    browser.jar["__Host-session"] = "fixed-by-an-attacker"
    browser.submit(f"{live.site}/en/sign-in/", {"email": address, "password": password})
    secret = browser.jar["__Host-session"]
    assert secret != "fixed-by-an-attacker"
    assert len(secret) >= 43
    stolen = visitor()
    stolen.jar["__Host-session"] = secret
    assert stolen.get(f"{live.site}/en/me/").status == 200, "positive control"
    browser.submit_from(f"{live.site}/en/me/", f"{live.site}/en/sign-out/", {})
    assert stolen.get(f"{live.site}/en/me/").status == 302
    assert live.process.poll() is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 201), ("name", "a\x00b"), ("name", "a\u202eb"), ("name", "e" + "\u0301" * 30), ("name", "line\nbreak"), ("email", "nobody"), ("email", "a@b"),
        ("email", "two@at@x.dz"), ("email", '"quoted"@x.dz'), ("email", "x" * 250 + "@x.dz"), ("role", ""), ("company", "   "), ("phone", "1" * 41), ("name", "\ud7ff\uffff" * 200),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_and_kept_in_the_form(live: Live, field: str, value: str) -> None:
    form = {"name": "Nour", "email": f"{uuid4().hex}@x.example", "company": "Une société", "role": "R"} | {field: value}
    answer = visitor().submit(f"{live.site}/fr/demo/", form)
    assert answer.status == 422
    assert "alert" in answer.text
    if field != "company":
        assert "Une société" in answer.text


def test_ten_megabytes_are_refused(live: Live) -> None:
    try:
        status = visitor().submit(f"{live.site}/en/demo/", {"name": "x" * 10_000_000}).status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # refused before the body was through: the connection is closed on the sender
    assert status in (400, 413)
    assert visitor().get(f"{live.site}/en/demo/").status == 200


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Nour.{0}@Example.DZ", "nour.{0}@example.dz"),
        ("نور{0}@موقع.example", "نور{0}@xn--4gbrim.example"),
        ("straße{0}@x.example", "STRASSE{0}@x.example"),
    ],
)
def test_a_taken_address_in_another_form_looks_the_same_and_its_owner_gets_a_letter(live: Live, first: str, second: str) -> None:
    mark = uuid4().hex[:10]
    answers = []
    for address in (first.format(mark), second.format(mark)):
        form = {
            "name": "N",
            "email": address,
            "company": "C",
            "role": "R",
            "password": "une phrase assez longue",
            "professional": "yes",
        }
        answers.append(re.sub(r'value="[^"]+"', "", visitor().submit(f"{live.site}/en/register/", form).text))
    assert answers[0] == answers[1]
    end = time.monotonic() + 15
    while time.monotonic() < end:
        found = [letter for address in {first.format(mark), second.format(mark)} for letter in live.letters(address, seconds=0)]
        letters = list({letter["id"]: letter for letter in found}.values())
        if len(letters) >= 2:
            break
        time.sleep(0.2)
    assert {letter["subject"] for letter in letters} == {"Confirm your address", "You already have an account"}


def test_wrong_and_unknown_sign_ins_look_alike(live: Live) -> None:
    known, _ = live.sign_in("admin")
    bodies = set()
    browser = visitor()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', browser.get(f"{live.site}/en/sign-in/").text)
    assert token
    for address in (known, f"{uuid4().hex}@organisation1.example"):
        answer = browser.request(
            "POST",
            f"{live.site}/en/sign-in/",
            {"csrfmiddlewaretoken": token.group(1), "email": address, "password": "wrong wrong wrong"},
        )
        bodies.add((answer.status, re.sub(r'value="[^"]*"', "", answer.text)))
    assert len(bodies) == 1


def test_guessing_is_slowed_down_and_says_how_long(live: Live) -> None:
    address = f"{uuid4().hex}@x.example"
    answers = [visitor().submit(f"{live.site}/en/sign-in/", {"email": address, "password": "x" * 12}) for _ in range(10)]
    assert answers[0].status == 422
    assert answers[-1].status == 429
    assert int(answers[-1].headers["retry-after"]) > 0


def test_a_password_can_be_chosen_anew_once_and_ends_every_session(live: Live) -> None:
    address = f"{uuid4().hex}@x.example"
    form = {
        "name": "N",
        "email": address,
        "company": "C",
        "role": "R",
        "password": "la premiere phrase secrete",
        "professional": "yes",
    }
    visitor().submit(f"{live.site}/en/register/", form)
    confirm = re.search(r"http://\S+", live.letters(address)[0]["body"])
    assert confirm
    assert visitor().submit(confirm.group(), {}).status == 200
    assert visitor().submit(confirm.group(), {}).status == 410, "a link works once"
    visitor().submit(f"{live.site}/fr/forgotten/", {"email": address})
    end = time.monotonic() + 15
    while len(live.letters(address)) < 2 and time.monotonic() < end:
        time.sleep(0.2)
    link = re.search(r"http://\S+", live.letters(address)[0]["body"])
    assert link
    assert visitor().submit(link.group(), {"password": "short"}).status == 422
    assert visitor().submit(link.group(), {"password": "la seconde phrase secrete"}).status == 200
    browser = visitor()
    assert browser.submit(f"{live.site}/en/sign-in/", {"email": address, "password": "la premiere phrase secrete"}).status == 422
    assert browser.submit(f"{live.site}/en/sign-in/", {"email": address, "password": "la seconde phrase secrete"}).status == 302


def test_each_role_of_staff_looks_up_only_what_the_policy_gives_it(live: Live) -> None:
    member, _ = live.sign_in("admin")
    support, finance, sales = (signed_in(live, role) for role in ("support", "finance", "sales"))
    found = support.submit(f"{live.console}/en/", {"email": member, "why": "respond:support-call", "reference": "T-7"})
    assert member in found.text
    assert "looks nobody up" in finance.get(f"{live.console}/en/").text
    refused = finance.submit_from(f"{live.console}/en/", f"{live.console}/en/", {"email": member, "why": "respond:support-call"})
    assert member not in refused.text.replace(f'value="{member}"', "")
    limited = sales.submit(f"{live.console}/en/", {"email": member, "why": "respond:support-mail"})
    assert member in limited.text
    assert "Role in the company" not in limited.text
    assert support.submit(f"{live.console}/en/", {"email": member, "why": "legal:rights-request"}).status == 422
    assert (
        support.submit(f"{live.console}/en/", {"email": member, "why": "respond:support-call", "reference": "Mr Haddad"}).status
        == 422
    )


def test_an_answer_to_a_demo_request_keeps_it_anew_and_mere_looking_does_not(live: Live) -> None:
    sales = signed_in(live, "sales")
    search = {"email": "yacine@visiteur.example", "why": "respond:support-mail"}

    def told() -> int:
        config = Settings(home=live.home, port=live.port, database_url=None)
        with psycopg.connect(Embedded(config.postgres, config.keys).admin_dsn) as admin:
            return len(
                admin.execute(
                    "SELECT FROM vault.retention r JOIN vault.dataset d ON d.id = r.dataset AND d.name = 'demo'"
                ).fetchall()
            )

    assert "Visiteur" in sales.submit(f"{live.console}/en/", search).text
    assert told() == 0
    assert "Visiteur" in sales.submit(f"{live.console}/en/", search | {"why": "respond:demo-follow-up"}).text
    assert told() == 1
    assert "the time for keeping it" not in sales.get(f"{live.console}/en/").text, "nobody looks somebody up for that"
