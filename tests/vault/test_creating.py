"""create called as a door's own role: every condition, with the case on either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from armonika.trust.vault import codec
from tests.vault.stage import CREATE, READ, Stage
from tests.vault.words import (
    CREATE_NAMES,
    account,
    create,
    creation,
    denied,
)


def test_a_creation_leaves_each_part_in_its_place(stage: Stage) -> None:
    stage.allow(CREATE)
    secret, org = stage.session(), uuid4()
    one, two = account(org=org), account(org=None, values={"phone": "5"})
    words = creation(stage, secret, one, two, ref="CASE-1", jobs=["verify-address:fr"])
    last = stage.last()
    numbers = create(stage, words)
    entries = stage.entries(last)
    actor = stage.actor(secret)
    subjects, records, masks = words[4], words[7], words[9]
    assert entries == [
        (
            CREATE,
            True,
            "api",
            actor,
            stage.role,
            subjects[n],
            records[n],
            stage.account.id,
            masks[n],
            stage.provide,
            stage.reason,
            "CASE-1",
            stage.policy,
        )
        for n in (0, 1)
    ]
    assert numbers == [
        row[0] for row in stage.admin.execute("SELECT audit_id FROM vault.audit WHERE audit_id > %s ORDER BY audit_id", (last,))
    ]
    for n in (0, 1):
        kind, of, status = stage.admin.execute(
            "SELECT kind, org_id, state FROM vault.subject WHERE subject_id = %s", (subjects[n],)
        ).fetchone()  # type: ignore[misc]
        assert (kind, of, status) == ("customer_user", org if n == 0 else None, "active")
        (dataset, present, versions, ciphertexts, origins, events) = stage.admin.execute(
            "SELECT dataset, present, versions, ciphertexts, origins, events FROM vault.record WHERE subject_id = %s AND record_id = %s",
            (subjects[n], records[n]),
        ).fetchone()  # type: ignore[misc]
        own = [cipher for item, cipher in zip(words[14], words[15], strict=True) if item == n + 1]
        assert (dataset, present, ciphertexts) == (stage.account.id, masks[n], own)
        assert versions == [None if cipher is None else 1 for cipher in own]
        assert set(origins) == {2}
        assert set(events) == {numbers[n]}
        key = stage.admin.execute(
            "SELECT kind, epoch, wrapped, compartment FROM vault.data_key WHERE record_id = %s", (records[n],)
        ).fetchone()
        assert key == (
            words[11][n],
            words[12][n],
            words[13][n],
            stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id),
        )
        looks = stage.admin.execute(
            "SELECT dataset, ordinal, epoch, digest, subject_id, sole FROM vault.lookup WHERE record_id = %s", (records[n],)
        ).fetchall()
        at = [i for i, item in enumerate(words[16]) if item == n + 1]
        assert looks == [(stage.account.id, words[17][i], words[18][i], words[19][i], subjects[n], True) for i in at]
    assert stage.value("SELECT state FROM vault.organisation WHERE org_id = %s", org) == "active"
    job = stage.admin.execute(
        "SELECT task_name, args FROM jobs.procrastinate_jobs WHERE args ->> 'subject' = %s", (str(subjects[0]),)
    ).fetchall()
    assert job == [("verify-address", {"subject": str(subjects[0]), "language": "fr"})]
    assert not stage.value("SELECT count(*) FROM jobs.procrastinate_jobs WHERE args ->> 'subject' = %s", str(subjects[1]))


def test_a_record_more_of_somebody_known(stage: Stage) -> None:
    stage.allow(CREATE)
    made, secret = stage.person(), stage.session()
    stage.person(state="restricted")
    org = stage.value("SELECT org_id FROM vault.subject WHERE subject_id = %s", made.subject)
    again = account(subject=made.subject, kind=None, org=None)
    assert create(stage, creation(stage, secret, again))
    assert stage.value("SELECT count(*) FROM vault.record WHERE subject_id = %s", made.subject) == 2
    assert stage.value("SELECT org_id FROM vault.subject WHERE subject_id = %s", made.subject) == org
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, account(subject=uuid4(), kind=None))) == "AR403"
    for status, said in (("restricted", "AR423"), ("erased", "AR403"), ("active", "")):
        stage.admin.execute("UPDATE vault.subject SET state = %s WHERE subject_id = %s", (status, made.subject))
        assert (
            denied(stage, "api", codec.CREATE, creation(stage, secret, account(subject=made.subject, kind=None, org=None)))
            == said
        )
    stage.admin.execute("INSERT INTO vault.tombstone (subject_id, audit_id, records) VALUES (%s, 1, 0)", (gone := uuid4(),))
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, account(new_subject=gone))) == "AR403", (
        "who was erased never comes back"
    )
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, account(new_subject=made.subject))) == "AR409"


CREATIONS: list[tuple[str, Callable[[Stage, list[Any]], object], str]] = [
    ("secret", lambda stage, words: b"n" * 32, "AR401"), ("reason", lambda stage, words: stage.rights, "AR422"), ("ref", lambda stage, words: "case 1", "AR422"),
    ("purpose", lambda stage, words: stage.legal, "AR422"), ("datasets", lambda stage, words: [999], "AR422"), ("datasets", lambda stage, words: [998], "AR422"), ("masks", lambda stage, words: [0], "AR422"),
    ("masks", lambda stage, words: [None], "AR422"), ("masks", lambda stage, words: [words[9][0] | 1 << 50], "AR422"), ("origins", lambda stage, words: [0], "AR422"),
    ("origins", lambda stage, words: [5], "AR422"), ("origins", lambda stage, words: [None], "AR422"), ("origins", lambda stage, words: [1], ""), ("origins", lambda stage, words: [4], ""),
    ("key_epochs", lambda stage, words: [99], "AR428"),
    ("lookup_epochs", lambda stage, words: [99] * len(words[18]), "AR428"), ("lookup_epochs", lambda stage, words: words[18], ""), ("wrapped", lambda stage, words: [None], "AR422"),
    ("key_kinds", lambda stage, words: [3], "AR422"), ("digests", lambda stage, words: [b"x"] * len(words[19]), "AR422"), ("jobs", lambda stage, words: ["x"], "AR422"),
    ("jobs", lambda stage, words: ["verify-address:de"], "AR422"), ("jobs", lambda stage, words: ["verify-address:ar"], ""), ("records", lambda stage, words: [None], "AR422"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CREATIONS)))
def test_a_creation_that_is_not_right_leaves_nothing(stage: Stage, number: int) -> None:
    stage.allow(CREATE)
    name, change, said = CREATIONS[number]
    secret = stage.session()
    words = creation(stage, secret)
    words[CREATE_NAMES.index(name)] = change(stage, words)
    assert denied(stage, "api", codec.CREATE, words) == said


def test_a_door_creates_in_its_own_compartments_alone(stage: Stage) -> None:
    staff, secret = stage.doors.api.catalogue.dataset("staff").id, stage.session()
    stage.allow(CREATE, dataset=staff)
    words = creation(stage, secret)
    words[8], words[9] = [staff], [1]
    words[14:20] = [[1], words[15][:1], [], [], [], []]
    assert denied(stage, "api", codec.CREATE, words) == "AR403"
    compartment = stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", staff)
    stage.admin.execute("INSERT INTO vault.door_compartment VALUES (%s, 'api', %s, 'seal')", (stage.policy, compartment))
    try:
        assert denied(stage, "api", codec.CREATE, words) == ""
    finally:
        stage.admin.execute("DELETE FROM vault.door_compartment WHERE door = 'api' AND compartment = %s", (compartment,))


def test_one_wrong_of_two_leaves_neither(stage: Stage) -> None:
    stage.allow(CREATE)
    secret = stage.session()
    taken = account()
    assert create(stage, creation(stage, secret, taken))
    email = dict(taken.values)["email"]
    assert (
        denied(stage, "api", codec.CREATE, creation(stage, secret, account(), account(values={"email": email.upper()})))
        == "AR409"
    )
    words = creation(stage, secret, account(), account())
    assert denied(stage, "api", codec.CREATE, [*words[:9], [words[9][0], 0], *words[10:]]) == "AR422"
    assert denied(stage, "api", codec.CREATE, [*words[:10], [2, 9], *words[11:]]) == "AR422"
    assert denied(stage, "api", codec.CREATE, [*words[:12], [words[12][0], 99], *words[13:]]) == "AR428"
    assert denied(stage, "api", codec.CREATE, words) == ""


def test_who_may_create_what_for_whom(stage: Stage) -> None:
    secret = stage.session()
    assert denied(stage, "api", codec.CREATE, creation(stage, secret)) == "AR403"
    stage.allow(CREATE, fields=stage.name)
    assert denied(stage, "api", codec.CREATE, creation(stage, secret)) == "AR403"
    stage.forbid()
    stage.allow(READ)
    assert denied(stage, "api", codec.CREATE, creation(stage, secret)) == "AR403"
    stage.forbid()
    org, other = uuid4(), uuid4()
    stage.allow(CREATE, "org")
    member = stage.session(org=org)
    assert denied(stage, "api", codec.CREATE, creation(stage, member, account(org=org))) == ""
    assert denied(stage, "api", codec.CREATE, creation(stage, member, account(org=other))) == "AR403"
    assert denied(stage, "api", codec.CREATE, creation(stage, member, account(org=None))) == "AR403"
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, account(org=None))) == "AR403"
    stage.forbid()
    stage.allow(CREATE)
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, purpose=stage.legal, reason=stage.rights)) == "AR403", (
        "allowed for another purpose"
    )
    stage.forbid()
    stage.allow(CREATE, "own")
    own = stage.session(actor=(me := uuid4()))
    assert denied(stage, "api", codec.CREATE, creation(stage, own, account(new_subject=me))) == ""
    assert denied(stage, "api", codec.CREATE, creation(stage, own, account())) == "AR403"
    stage.allow(CREATE)
    compartment = stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id)
    for bounds, said in (({"operations": [CREATE]}, ""), ({"operations": [READ]}, "AR403"), ({"operations": None, "purposes": [stage.provide]}, ""), ({"purposes": [stage.legal]}, "AR403"),
                         ({"purposes": None, "compartments": [compartment]}, ""), ({"compartments": [compartment + 1]}, "AR403"), ({"compartments": []}, "AR403")):  # fmt: skip
        stage.narrowed(secret, **bounds)  # type: ignore[arg-type]
        assert denied(stage, "api", codec.CREATE, creation(stage, secret)) == said, bounds
