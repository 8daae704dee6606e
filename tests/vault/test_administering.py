"""What the administrator and the verifier write down: sessions of services, tokens and their bounds, reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.trust import crypto
from tests.vault.stage import Stage
from tests.vault.undone import refused, rows, undone

SESSION = "SELECT vault.install_session(%s, %s, %s, %s, %s, %s::interval, %s)"
NARROW = "SELECT vault.narrow_token(%s, %s::text[], %s::text[], %s::text[])"
PUBLISH = "SELECT vault.publish_trust_report(%s, %s::jsonb)"


@pytest.fixture
def clean(stage: Stage) -> Iterator[Stage]:
    """Nothing is left of what a test installs."""
    with undone(stage):
        yield stage


def living(stage: Stage, *secrets: bytes) -> list[bool]:
    return [
        bool(stage.value("SELECT revoked_at IS NULL FROM vault.session WHERE secret_hash = %s", secret)) for secret in secrets
    ]


def row(stage: Stage, secret: bytes) -> tuple[Any, ...]:
    (found,) = rows(
        stage,
        "SELECT s.actor, r.name, s.door, s.kind, s.label, round(extract(epoch FROM s.expires_at - clock_timestamp())), s.revoked_at IS NULL "
        "FROM vault.session s JOIN vault.role r ON r.id = s.role WHERE s.secret_hash = %s",
        secret,
    )
    return found


def installed(stage: Stage, kind: str = "service", door: str = "site", role: str = "integration", secret: bytes | None = None, ttl: str = "1 hour", label: str | None = None) -> tuple[bytes, UUID]:  # fmt: skip
    made, actor = secret or crypto.random_bytes(32), uuid4()
    rows(stage, SESSION, made, actor, role, door, kind, ttl, label)
    return made, actor


def test_a_new_service_takes_the_place_of_the_former_one_of_its_door(clean: Stage) -> None:
    others = [clean.session("console", "service"), clean.session("site", "token"), clean.session("site", "session")]
    over = clean.session("site", "service", revoked_at="'2026-01-01'")
    former, last = clean.session("site", "service"), clean.last()
    made, actor = installed(clean, label="a-label")
    assert living(clean, made, former, *others) == [True, False, True, True, True]
    assert clean.value("SELECT revoked_at < '2026-01-02' FROM vault.session WHERE secret_hash = %s", over), "it ended then"
    assert row(clean, made) == (actor, "integration", "site", "service", "a-label", 3600, True)
    role = clean.value("SELECT id FROM vault.role WHERE name = 'integration'")
    entry = (12, True, "administrator", actor, role, None, None, None, 0, 0, 0, None, clean.policy)
    assert clean.entries(last) == [entry]
    # The same secret again is prolonged, and is what it was but for its role.
    installed(clean, role=f"stage-{clean.role}", secret=made, ttl="2 hours", label="other", door="console")
    assert row(clean, made) == (actor, f"stage-{clean.role}", "site", "service", "a-label", 7200, True)
    installed(clean, secret=made)
    assert living(clean, made) == [True]


def test_a_token_ends_no_other_and_stands_for_no_staff(clean: Stage) -> None:
    service, other = clean.session("api", "service"), clean.session("api", "token")
    made, actor = installed(clean, "token", "api")
    assert living(clean, made, service, other) == [True] * 3
    assert row(clean, made)[:4] == (actor, "integration", "api", "token")
    last = clean.last()
    for role in ("dpo", "nobody"):
        for kind in ("token", "service"):
            secret = crypto.random_bytes(32)
            assert refused(clean, SESSION, secret, uuid4(), role, "api", kind, "1 hour", None) == "AR422"
    assert (clean.last(), living(clean, service)) == (last, [True])


def test_a_token_is_narrowed_by_names_that_are_declared(clean: Stage) -> None:
    secret, other, session = clean.session(), clean.session(), clean.session(kind="session")
    bounds = "SELECT scope_compartments, scope_purposes, scope_operations FROM vault.session WHERE secret_hash = %s"
    account, provide = ([clean.value(f"SELECT id FROM vault.{table} WHERE name = %s", name)] for table, name in (("compartment", "account"), ("purpose", "provide")))  # fmt: skip
    for given, held in (
        ((["account"], ["provide"], ["read", "find"]), (account, provide, [1, 2])),
        ((None, ["provide"], None), (None, provide, None)),
        ((["account"], None, None), (account, None, None)),
        ((None, None, ["read"]), (None, None, [1])),
        (([], [], []), ([], [], [])),
        ((None, None, None), (None, None, None)),
    ):
        for one in (secret, session):
            rows(clean, NARROW, one, *given)
        assert [rows(clean, bounds, one) for one in (secret, other, session)] == [[held], [(None,) * 3], [(None,) * 3]]
    rows(clean, NARROW, secret, ["account"], ["provide"], ["read"])
    for wrong in (
        (["account", "nowhere"], None, None),
        (None, ["profiling"], None),
        (None, None, ["read", "steal"]),
        (["nowhere"], ["provide"], ["read"]),
    ):
        assert refused(clean, NARROW, secret, *wrong) == "AR422"
    assert rows(clean, bounds, secret) == [(account, provide, [1])]


def test_the_newest_report_is_shown_with_its_time(clean: Stage) -> None:
    service, last = clean.session("verifier", "service"), clean.last()
    for number in (1, 2):
        ((made,),) = rows(clean, PUBLISH, service, f'{{"n": {number}}}', door="verifier")
    at = clean.value("SELECT to_jsonb(at) FROM vault.trust_report WHERE report_id = %s", made)
    assert clean.value("SELECT vault.trust_report()") == {"n": 2, "published_at": at}
    actor = clean.actor(service)
    assert clean.entries(last) == [(15, True, "verifier", actor, clean.role, None, None, None, 0, 0, 0, None, clean.policy)] * 2
    # At any other door, whoever may call it there.
    assert refused(clean, PUBLISH, clean.session("administrator", "service"), "{}") == "AR403"
    assert refused(clean, PUBLISH, b"x" * 32, "{}", door="verifier") == "AR401"
    assert clean.value("SELECT vault.trust_report()")["n"] == 2
