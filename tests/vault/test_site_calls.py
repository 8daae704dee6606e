"""The calls of the web doors on the real database: signing in and out, passwords, lists, letters, the brake, and a store that does not answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from armonika.trust import crypto
from armonika.trust.vault import Unverified, Vault, secret_hash
from armonika.trust.vault.errors import (
    Invalid,
    KeyUnavailable,
    Refused,
    SessionEnded,
    Throttled,
    Undeclared,
)
from armonika.trust.vault.types import Ask, Created, NewRecord
from tests.doors import Doors
from tests.vault.both import USE, WORD, account


def member(doors: Doors, verified: bool = True) -> tuple[str, Created]:
    record = NewRecord(
        "account",
        {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"},
        "subject",
        kind="customer_user",
        org=uuid4(),
    )
    (one,) = doors.site.create(
        doors.site.service, "provide", "register", [record], password=WORD, role="admin", jobs=("verify-address:fr",)
    )
    if verified:
        token = doors.verifier.issue_challenge(one.subject, "verify-address", 60)
        assert doors.site.redeem_challenge(token, "verify-address") == one.subject
    return record.values["email"], one


def test_signing_in_and_out(doors: Doors) -> None:
    site: Vault = doors.site
    email, one = member(doors, verified=False)
    with pytest.raises(Unverified):
        site.sign_in("account", email, WORD)
    with pytest.raises(Refused) as wrong:
        site.sign_in("account", email, WORD + "x")
    with pytest.raises(Refused) as unknown:
        site.sign_in("account", f"{uuid4().hex}@org.example", WORD)
    assert type(wrong.value) is type(unknown.value) is Refused
    assert str(wrong.value) == str(unknown.value)
    with pytest.raises(Invalid):
        site.sign_in("account", "no address", WORD)
    site.redeem_challenge(doors.verifier.issue_challenge(one.subject, "verify-address", 60), "verify-address")
    secret, actor = site.sign_in("account", email.upper(), WORD, 600)
    assert (actor.actor_id, actor.role, actor.kind) == (one.subject, "admin", "session")
    assert 590 < (actor.expires_at - actor.auth_at).total_seconds() < 610
    assert (
        8 * 3600 - 3
        < (lambda a: (a.expires_at - a.auth_at).total_seconds())(site.sign_in("account", email, WORD)[1])
        < 8 * 3600 + 3
    )
    hashed = secret_hash(secret)
    site.prove_again(hashed, WORD)
    with pytest.raises(Refused):
        site.prove_again(hashed, WORD + "x")
    with pytest.raises(Refused):
        site.prove_again(site.service, WORD)
    site.sign_out(hashed)
    site.sign_out(hashed)
    with pytest.raises(SessionEnded):
        site.whoami(hashed)
    again = [secret_hash(site.sign_in("account", email, WORD)[0]) for _ in range(2)]
    assert site.sign_out_all(again[0]) == 3
    token = doors.verifier.issue_challenge(one.subject, "reset-password", 60)
    with pytest.raises(Refused):
        site.redeem_challenge(token, "verify-address")
    assert site.redeem_challenge(token, "reset-password", "un autre mot assez long") == one.subject
    with pytest.raises(Refused):
        site.redeem_challenge(token, "reset-password", "un autre mot assez long")
    with pytest.raises(Refused):
        site.sign_in("account", email, WORD)
    assert site.sign_in("account", email, "un autre mot assez long")
    for words in ({"password": WORD}, {"role": "admin"}):
        with pytest.raises(Undeclared):
            site.create(site.service, "provide", "register", [account()], **words)  # type: ignore[arg-type]
    with doors.admin() as admin:
        jobs = admin.execute(
            "SELECT task_name, args ->> 'language' FROM jobs.procrastinate_jobs WHERE args ->> 'subject' = %s",
            (str(one.subject),),
        ).fetchall()
    assert jobs == [("verify-address", "fr")]


def test_passwords_of_every_length_and_letter(doors: Doors) -> None:
    site = doors.site
    for password in ("x" * 4096, "x" * 4097, "x" * 100_000, "\ud800" + "y" * 20, "é" * 3000):
        salt = b"s" * 16
        assert site._proof(password, salt) == site._proof(password, salt)
        assert site._proof(password, salt) != site._proof(password + "x", salt)
        assert len(site._proof(password, salt)) == 32
    long = "x" * 4097
    assert site._proof(long, b"s" * 16) != site._proof(long[:4096], b"s" * 16)
    pepper = site._credentials.pepper
    assert pepper is not None
    assert site._proof("a", b"s" * 16) == crypto.hmac_sha256(pepper, b"armonika/proof/1\0" + crypto.argon2id(b"a", b"s" * 16))
    assert site._proof(long, b"s" * 16) == crypto.hmac_sha256(
        pepper, b"armonika/proof/1\0" + crypto.argon2id(crypto.sha256(long.encode()), b"s" * 16)
    )
    assert site._proof("x" * 4096, b"s" * 16) == crypto.hmac_sha256(
        pepper, b"armonika/proof/1\0" + crypto.argon2id(b"x" * 4096, b"s" * 16)
    )
    assert site._decoy(b"d") == crypto.hmac_sha256(pepper, b"armonika/decoy/1\0d")[:16]
    salt, parameters, check = site._credential("a")
    assert (len(salt), parameters) == (16, crypto.ARGON2_PARAMETERS)
    assert check == crypto.sha256(site._proof("a", salt))
    for call in (lambda: doors.api._proof("a", b"s" * 16), lambda: doors.api._decoy(b"d")):
        with pytest.raises(KeyUnavailable):
            call()


def test_a_sign_in_is_the_same_work_whether_the_address_is_known(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """One password hash and the same calls of the database: whoever measures an answer learns no more from it than from what it says."""
    site, (email, _) = doors.site, member(doors)
    assert site.catalogue
    done: list[str] = []
    hashed, rows = crypto.argon2id, site._store.rows
    monkeypatch.setattr(crypto, "argon2id", lambda *given: done.append("argon2id") or hashed(*given))  # type: ignore[func-returns-value]
    monkeypatch.setattr(site._store, "rows", lambda *given, **named: done.append(given[0]) or rows(*given, **named))  # type: ignore[func-returns-value]
    works = []
    for address in (email, f"{uuid4().hex}@org.example"):
        done.clear()
        with pytest.raises(Refused):
            site.sign_in("account", address, "wrong wrong wrong")
        works.append(list(done))
    assert works[0] == works[1]
    assert works[0].count("argon2id") == 1
    assert len(works[0]) == 3


def test_lists_pass_over_what_the_policy_does_not_name(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of an earlier policy, a field that was taken back: nobody can say what they are."""
    site, at = doors.site, datetime.now(UTC)
    number = site.catalogue.dataset("account").id
    rows = [(uuid4(), dataset, ordinal, 3, 1, at, 7) for dataset, ordinal in ((number, 1), (number, 60), (30000, 1))]
    monkeypatch.setattr(site, "_consult", lambda *_: 1)
    monkeypatch.setattr(site._store, "rows", lambda *_, **__: rows)
    (held,) = site.describe(site.service, uuid4(), "legal", "rights-request")
    assert (held.record, held.dataset, held.field, held.version, held.origin, held.written_at, held.event) == (
        rows[0][0], "account", "name", 3, "subject", at, 7,
    )  # fmt: skip


def test_a_list_has_fifty_entries_unless_more_are_asked_for(doors: Doors) -> None:
    email, person = member(doors)
    ask = Ask(doors.token, person.subject, "account", ["name"], *USE)
    assert all(outcome.error is None for outcome in doors.api.read_many([ask] * 60))
    own = secret_hash(doors.site.sign_in("account", email, WORD)[0])
    assert [len(doors.site.accesses(own, person.subject, *most)) for most in ((), (55,), (1,))] == [50, 55, 1]


def test_lists_letters_and_the_brake(doors: Doors) -> None:
    site = doors.site
    email, person = member(doors)
    own = secret_hash(site.sign_in("account", email, WORD)[0])
    held = site.describe(own, person.subject, "legal", "rights-request", "A-9")
    assert {(field.record, field.dataset, field.version, field.origin, field.event) for field in held} == {
        (person.record, "account", 1, "subject", person.audit_id)
    }
    assert {field.field for field in held} == {"name", "email", "company", "role"}
    site.read(own, person.subject, "account", ["name"], "provide", "own-view", "A-8")
    with pytest.raises(Refused):
        doors.api.read(doors.token, person.subject, "account", ["name"], "legal", "rights-request")
    accesses = site.accesses(own, person.subject)
    assert [(access.operation, access.role) for access in accesses if access.outcome == "refused"] == [("read", "integration")]
    first, read = accesses[-1], next(access for access in accesses if (access.operation, access.outcome) == ("read", "granted"))
    assert (first.audit_id, first.operation, first.outcome, first.role, first.dataset, first.purpose) == (
        person.audit_id,
        "create",
        "granted",
        "site",
        "account",
        "provide",
    )
    assert set(first.fields) == {"name", "email", "company", "role"}
    assert (read.reader, read.reason, read.reference, list(read.fields)) == (person.subject, "own-view", "A-8", ["name"])
    assert {(access.purpose, access.reason) for access in accesses if access.operation == "credential"} == {("", "")}
    assert [access.audit_id for access in site.accesses(own, person.subject, 1, person.audit_id + 1)] == [person.audit_id]
    leaf, content = site.access_entry(own, person.subject, person.audit_id)
    assert leaf is None, "nothing sealed it yet"
    assert json.loads(content)["subject"] == str(person.subject)
    assert json.loads(content)["audit_id"] == person.audit_id
    with pytest.raises(Refused):
        site.access_entry(own, person.subject, 10**12)
    key = uuid4().bytes
    for _ in range(2):
        site.throttle(key, 6.0, 2)
    with pytest.raises(Throttled) as caught:
        site.throttle(key, 6.0, 2)
    assert 9 < caught.value.retry_after <= 10
    site.throttle(uuid4().bytes, 6.0, 2)
    site.throttle(key + b"short", 120.0, 1)
    with pytest.raises(Throttled) as caught:
        site.throttle(key + b"short", 120.0, 1)
    assert 0 < caught.value.retry_after <= 0.5, "half a second is a wait too"
    worker = Vault.open(doors.server.provisioned.credentials("worker"), doors.server.dsn)  # type: ignore[attr-defined]
    with pytest.raises(KeyUnavailable):
        worker.throttle(key, 6.0, 2)
    worker.close()
    with doors.admin() as admin:
        assert not admin.execute("SELECT count(*) FROM vault.throttle WHERE key = %s", (key,)).fetchone()[0]  # type: ignore[index]
    site.enqueue("verify-address:ar", person.subject)
    site.enqueue_to("reset-password:en", "account", email)
    site.enqueue_to("reset-password:en", "account", f"{uuid4().hex}@org.example")
    with doors.admin() as admin:
        jobs = admin.execute(
            "SELECT task_name, args ->> 'language' FROM jobs.procrastinate_jobs WHERE args ->> 'subject' = %s ORDER BY id",
            (str(person.subject),),
        ).fetchall()
    assert jobs == [("verify-address", "fr"), ("verify-address", "ar"), ("reset-password", "en")]
    assert doors.verifier.publish_trust_report({"a": 1}) > 0
    report = site.trust_report()
    assert report is not None
    assert report["a"] == 1
    with pytest.raises(Refused):
        site.policy_document("0" * 64)
    assert site.policy_document(site.catalogue.sha256)
