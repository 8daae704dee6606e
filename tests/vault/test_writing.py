"""create, correct, erase, restrict, describe and the lists of accesses called as a door's own role: every condition, with the case on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.trust.vault import codec
from armonika.trust.vault.types import Created, NewRecord
from tests.doors import Doors
from tests.vault.stage import ACCESSES, CORRECT, CREATE, DESCRIBE, ERASE, READ, RESTRICT, Stage

STATE = "SELECT " + ", ".join(
    f"(SELECT count(*) FROM vault.{table})"
    for table in ("subject", "record", "data_key", "lookup", "audit", "tombstone", "organisation", "ended")
)
CREATE_NAMES = ["secret", "purpose", "reason", "ref", "subjects", "kinds", "orgs", "records", "datasets", "masks", "origins", "key_kinds", "key_epochs", "wrapped", "value_items",
                "ciphertexts", "lookup_items", "lookup_ordinals", "lookup_epochs", "digests", "jobs"]  # fmt: skip
CORRECT_NAMES = [
    "secret",
    "purpose",
    "reason",
    "ref",
    "subject",
    "record",
    "origin",
    "ordinals",
    "expected",
    "ciphertexts",
    "lookup_ordinals",
    "lookup_epochs",
    "digests",
]


@pytest.fixture
def stage(doors: Doors) -> Iterator[Stage]:
    made = Stage(doors, doors.admin())
    yield made
    made.close()


def state(stage: Stage) -> tuple[Any, ...]:
    (row,) = stage.admin.execute(STATE.encode()).fetchall()
    return row


def creation(stage: Stage, secret: bytes, *records: NewRecord, **changed: Any) -> list[Any]:
    """The words of a creation, as the door makes them, with single ones changed."""
    given = list(records) or [account()]
    words, _ = codec.create_parameters(
        stage.doors.api.catalogue, stage.doors.api._envelope, secret, "provide", "integration", None, given, ()
    )
    return [changed.get(name, word) for name, word in zip(CREATE_NAMES, words, strict=True)]


def account(**more: Any) -> NewRecord:
    values = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"} | more.pop("values", {})
    return NewRecord("account", values, "organisation", **({"kind": "customer_user", "org": uuid4()} | more))


def create(stage: Stage, words: list[Any], door: str = "api") -> list[int]:
    return list(stage.rows(door, codec.CREATE, *words)[0][0])


def denied(stage: Stage, door: str, statement: str, words: list[Any]) -> str:
    """The SQLSTATE of a refusal that left nothing."""
    before = state(stage)
    said = stage.refused(door, statement, *words)
    assert not said or state(stage) == before, "a refusal left something"
    return said


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


class Correction:
    """The words of a correction, as the door makes them."""

    def __init__(self, stage: Stage, made: Created, secret: bytes, **values: str) -> None:
        self.stage, self.made = stage, made
        api = stage.doors.api
        row = stage.admin.execute(
            "SELECT 1, r.subject_id, r.record_id, r.dataset, k.kind, k.epoch, k.wrapped, r.present, r.versions, NULL FROM vault.record r JOIN vault.data_key k USING (subject_id, record_id) "
            "WHERE r.record_id = %s", (made.record,),
        ).fetchone()  # fmt: skip
        assert row is not None
        self.words = codec.correct_parameters(
            api.catalogue,
            api._envelope,
            stage.account,
            row,
            secret,
            made.subject,
            made.record,
            values,
            "provide",
            "integration",
            None,
            None,
            "operator",
        )

    def changed(self, **changed: Any) -> list[Any]:
        return [changed.get(name, word) for name, word in zip(CORRECT_NAMES, self.words, strict=True)]

    def __call__(self, **changed: Any) -> str:
        return denied(self.stage, "api", codec.CORRECT, self.changed(**changed))


def test_a_correction_changes_its_values_and_nothing_else(stage: Stage) -> None:
    stage.allow(CORRECT)
    stage.allow(READ)
    made, secret = stage.person(), stage.session()
    other = stage.person()
    before = stage.admin.execute(
        "SELECT versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (made.record,)
    ).fetchone()
    bystander = stage.admin.execute(
        "SELECT r, l.digest FROM vault.record r JOIN vault.lookup l USING (record_id) WHERE r.record_id = %s", (other.record,)
    ).fetchall()
    assert before is not None
    email = f"{uuid4().hex}@org.example"
    words = Correction(stage, made, secret, name="M", email=email, phone="5").changed(ref="A-1")
    last = stage.last()
    ((number,),) = stage.rows("api", codec.CORRECT, *words)
    mask = sum(1 << (ordinal - 1) for ordinal in words[7])
    assert stage.entries(last) == [
        (
            CORRECT,
            True,
            "api",
            stage.actor(secret),
            stage.role,
            made.subject,
            made.record,
            stage.account.id,
            mask,
            stage.provide,
            stage.reason,
            "A-1",
            stage.policy,
        )
    ]
    assert number == stage.last()
    present, versions, ciphertexts, origins, events = stage.admin.execute(
        "SELECT present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (made.record,)
    ).fetchone()  # type: ignore[misc]
    width = max(len(before[0]), max(words[7]))
    for at in range(width):
        old = [column[at] if at < len(column) else None for column in before]
        if at + 1 in words[7]:
            index = words[7].index(at + 1)
            assert (versions[at], ciphertexts[at], origins[at], events[at]) == ((old[0] or 0) + 1, words[9][index], 3, number)
        else:
            assert (versions[at], ciphertexts[at]) == (old[0], old[1])
            assert at >= len(before[0]) or (origins[at], events[at]) == (old[2], old[3])
    assert present == sum(1 << at for at in range(width) if ciphertexts[at] is not None)
    looks = stage.admin.execute(
        "SELECT dataset, ordinal, epoch, digest, sole FROM vault.lookup WHERE record_id = %s", (made.record,)
    ).fetchall()
    assert looks == [(stage.account.id, o, e, d, True) for o, e, d in zip(*words[10:13], strict=True)]
    assert (
        stage.admin.execute(
            "SELECT r, l.digest FROM vault.record r JOIN vault.lookup l USING (record_id) WHERE r.record_id = %s", (other.record,)
        ).fetchall()
        == bystander
    )
    (read,) = stage.doors.api.read(
        secret, made.subject, "account", ["name", "email", "phone", "company"], "provide", "integration"
    )  # type: ignore[arg-type]
    assert read.values == {"name": "M", "email": email, "phone": "5", "company": "C"}
    assert Correction(stage, made, secret, name="L")() == ""
    assert len(stage.admin.execute("SELECT FROM vault.lookup WHERE record_id = %s", (made.record,)).fetchall()) == len(looks), (
        "look-ups of other fields stay"
    )


def test_a_correction_that_is_not_right_leaves_nothing(stage: Stage) -> None:
    stage.allow(CORRECT)
    made, other, secret = stage.person(), stage.person(), stage.session()
    one = Correction(stage, made, secret, name="M", email=f"{uuid4().hex}@org.example")
    for changed, said in (
        ({"secret": b"n" * 32}, "AR401"), ({"reason": stage.rights}, "AR422"), ({"ref": "case 1"}, "AR422"), ({"purpose": stage.legal}, "AR422"), ({"subject": uuid4()}, "AR403"),
        ({"subject": other.subject}, "AR403"), ({"record": other.record}, "AR403"), ({"record": uuid4()}, "AR403"), ({"origin": 0}, "AR422"), ({"origin": 5}, "AR422"),
        ({"expected": [0, 1]}, "AR412"), ({"expected": [1, 2]}, "AR412"), ({"ciphertexts": [None, b"x"]}, "AR412"), ({"lookup_epochs": [99] * len(one.words[11])}, "AR428"),
        ({"ordinals": [one.words[7][0], 60]}, "AR422"), ({"digests": [b"x"] * len(one.words[12])}, "AR422"), ({"ordinals": [0, 1]}, "AR422"),
    ):  # fmt: skip
        said_now = one(**changed)
        assert said_now == said, (changed, said_now)
    assert one(origin=1) == ""
    assert one() == "AR412", "once: the version is another now"
    taken = dict(account().values)["email"]
    stage.doors.api.correct(stage.doors.token, other.subject, other.record, {"email": taken}, "provide", "integration")
    assert Correction(stage, made, secret, email=taken)() == "AR409"
    assert Correction(stage, made, secret, name="4")(origin=4) == ""


def test_who_may_correct_what_of_whom(stage: Stage) -> None:
    here = uuid4()
    made, secret = stage.person(here), stage.session()
    assert Correction(stage, made, secret, name="M")() == "AR403"
    stage.allow(CORRECT, fields=stage.name)
    assert Correction(stage, made, secret, email=f"{uuid4().hex}@org.example")() == "AR403"
    assert Correction(stage, made, secret, name="M", phone="1")() == "AR403"
    assert Correction(stage, made, secret, name="M")() == ""
    stage.forbid()
    stage.allow(CORRECT, "org")
    assert Correction(stage, made, secret, name="M")() == "AR403"
    assert Correction(stage, made, stage.session(org=here), name="M")() == ""
    stage.forbid()
    stage.allow(CORRECT, "own")
    assert Correction(stage, made, secret, name="M")() == "AR403"
    assert Correction(stage, made, stage.session(actor=made.subject), name="M")() == ""
    stage.forbid()
    stage.allow(CORRECT)
    stage.allow(CORRECT, purpose=stage.legal)
    for status, plain, lawful in (("restricted", "AR423", ""), ("erased", "AR403", "AR403"), ("active", "", "")):
        stage.admin.execute("UPDATE vault.subject SET state = %s WHERE subject_id = %s", (status, made.subject))
        assert Correction(stage, made, secret, name="M")() == plain
        assert Correction(stage, made, secret, name="M")(purpose=stage.legal, reason=stage.rights) == lawful
    compartment = stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id)
    for mode, said in (("seal", "AR403"), ("full", "")):
        stage.admin.execute(
            "UPDATE vault.door_compartment SET mode = %s WHERE policy_id = %s AND door = 'api' AND compartment = %s",
            (mode, stage.policy, compartment),
        )
        assert Correction(stage, made, secret, name="M")() == said
    assert stage.refused("site", codec.CORRECT, *Correction(stage, made, secret, name="M").words) == "AR401"


def erase(
    stage: Stage, secret: bytes, *people: UUID, purpose: int | None = None, reason: int | None = None, ref: str | None = None
) -> list[tuple[Any, ...]]:
    return stage.rows("api", codec.ERASE, secret, purpose or stage.provide, reason or stage.reason, ref, list(people))


def dependents(stage: Stage, whom: UUID) -> tuple[int, ...]:
    return tuple(
        int(stage.value(f"SELECT count(*) FROM vault.{table} WHERE {column} = %s", whom))
        for table, column in (
            ("record", "subject_id"),
            ("data_key", "subject_id"),
            ("lookup", "subject_id"),
            ("credential", "subject_id"),
            ("challenge", "subject_id"),
            ("session", "actor"),
        )
    )


def furnished(stage: Stage, org: UUID | None = None) -> Created:
    """A person with a credential, a challenge, a session and a service session."""
    made = stage.person(org)
    stage.admin.execute(
        "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash) VALUES (%s, %s, %s, 'p', %s)",
        (made.subject, stage.role, b"s" * 16, b"c" * 32),
    )
    stage.admin.execute("INSERT INTO vault.challenge (token_hash, subject_id, kind, expires_at) VALUES (sha256(%s), %s, 'reset-password', clock_timestamp())", (str(made.subject).encode(), made.subject))  # fmt: skip
    stage.session(actor=made.subject, kind="session")
    stage.session(actor=made.subject, kind="service")
    return made


def test_an_erasure_takes_everything_of_the_person_and_nothing_of_others(stage: Stage) -> None:
    stage.allow(ERASE)
    one, two, other = furnished(stage), furnished(stage), furnished(stage)
    secret, before = stage.session(), dependents(stage, other.subject)
    assert before == (1, 1, 1, 1, 1, 2)
    last = stage.last()
    rows = erase(stage, secret, two.subject, uuid4(), one.subject, ref="CASE-9")
    first, second = sorted((one, two), key=lambda made: made.subject)
    assert [(row[0], *row[2:]) for row in rows] == [(first.subject, 1, 0), (second.subject, 1, 0)]
    assert [row[1] for row in rows] == [
        number for (number,) in stage.admin.execute("SELECT audit_id FROM vault.audit WHERE audit_id > %s ORDER BY 1", (last,))
    ]
    actor = stage.actor(secret)
    assert stage.entries(last) == [
        (ERASE, True, "api", actor, stage.role, made.subject, None, None, 0, stage.provide, stage.reason, "CASE-9", stage.policy)
        for made in (first, second)
    ]
    for made, row in ((first, rows[0]), (second, rows[1])):
        assert dependents(stage, made.subject) == (0, 0, 0, 0, 0, 1)
        assert stage.admin.execute(
            "SELECT state, org_id FROM vault.subject WHERE subject_id = %s", (made.subject,)
        ).fetchone() == ("erased", None)
        assert stage.admin.execute(
            "SELECT audit_id, records FROM vault.tombstone WHERE subject_id = %s", (made.subject,)
        ).fetchall() == [(row[1], 1)]
        ended = stage.admin.execute(
            "SELECT record_id, epoch IS NULL, audit_id, registered FROM vault.ended WHERE subject_id = %s ORDER BY ended_no",
            (made.subject,),
        ).fetchall()
        assert ended == [(made.record, False, row[1], False), (None, True, row[1], False)]
    assert dependents(stage, other.subject) == before
    assert erase(stage, secret, one.subject, two.subject) == []


def test_what_the_policy_keeps_stays_and_the_person_is_locked(stage: Stage) -> None:
    stage.allow(ERASE)
    made, secret = stage.person(), stage.session()
    staff = stage.doors.api.catalogue.dataset("staff").id
    kept = uuid4()
    stage.admin.execute("INSERT INTO vault.record SELECT subject_id, %s, %s, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (kept, staff, made.record))  # fmt: skip
    org = stage.value("SELECT org_id FROM vault.subject WHERE subject_id = %s", made.subject)
    ((whom, _, gone, left),) = erase(stage, secret, made.subject)
    assert (whom, gone, left) == (made.subject, 1, 1)
    assert stage.admin.execute("SELECT state, org_id FROM vault.subject WHERE subject_id = %s", (whom,)).fetchone() == (
        "restricted",
        org,
    )
    assert stage.value("SELECT count(*) FROM vault.tombstone WHERE subject_id = %s", whom) == 0
    assert stage.value("SELECT record_id FROM vault.record WHERE subject_id = %s", whom) == kept
    assert erase(stage, secret, made.subject) == [], "nothing that this actor may erase is left"
    bare = stage.person()
    stage.admin.execute("DELETE FROM vault.record WHERE subject_id = %s", (bare.subject,))
    ((_, _, gone, left),) = erase(stage, secret, bare.subject)
    assert (gone, left) == (0, 0)


def test_who_may_erase_and_restrict_whom(stage: Stage) -> None:
    here = uuid4()

    def outcome(secret: bytes, whom: UUID) -> tuple[int, str]:
        locked = denied(stage, "api", codec.RESTRICT, [secret, stage.provide, stage.reason, None, whom, False])
        return len(erase(stage, secret, whom)), locked

    secret = stage.session()
    assert outcome(secret, stage.person().subject) == (0, "AR403")
    for operation, seen in ((READ, (0, "AR403")), (ERASE, (1, "AR403")), (RESTRICT, (0, ""))):
        stage.allow(operation)
        assert outcome(secret, stage.person().subject) == seen
        stage.forbid()
    for scope in ("own", "org", "all"):
        stage.allow(ERASE, scope)
        stage.allow(RESTRICT, scope)
        mine, colleague, stranger, alone = stage.person(here), stage.person(here), stage.person(), stage.person()
        stage.admin.execute("UPDATE vault.subject SET org_id = NULL WHERE subject_id = %s", (alone.subject,))
        member = stage.session(actor=mine.subject, org=here)
        none, done = (0, "AR403"), (1, "")
        free = stage.session()
        assert outcome(free, alone.subject) == (done if scope == "all" else none)
        assert outcome(member, stranger.subject) == (done if scope == "all" else none)
        assert outcome(member, colleague.subject) == (none if scope == "own" else done)
        assert outcome(stage.session(actor=mine.subject, org=here), mine.subject) == done
        stage.forbid()
    stage.allow(ERASE)
    stage.allow(RESTRICT)
    stage.allow(ERASE, purpose=stage.legal)
    assert outcome(secret, stage.person(state="erased").subject) == none
    assert outcome(secret, uuid4()) == none
    for bounds, seen in (
        ({"operations": [ERASE]}, (1, "AR403")),
        ({"operations": [RESTRICT]}, (0, "")),
        ({"operations": None, "purposes": [stage.legal]}, none),
        ({"purposes": [stage.provide]}, done),
    ):
        stage.narrowed(secret, **bounds)  # type: ignore[arg-type]
        assert outcome(secret, stage.person().subject) == seen, bounds
    stage.narrowed(secret, purposes=None)
    whom = stage.person().subject
    for words in (
        [b"n" * 32, stage.provide, stage.reason, None],
        [secret, stage.provide, stage.rights, None],
        [secret, stage.provide, stage.reason, "case 1"],
    ):
        said = "AR401" if words[0] != secret else "AR422"
        assert denied(stage, "api", codec.ERASE, [*words, [whom]]) == said
        assert denied(stage, "api", codec.RESTRICT, [*words, whom, True]) == said
        assert denied(stage, "api", codec.ERASE_RECORDS, [*words, [whom], [whom]]) == said
    assert denied(stage, "api", codec.RESTRICT, [secret, stage.provide, stage.reason, None, whom, None]) == "AR403"
    stage.admin.execute(
        "UPDATE vault.record SET dataset = %s WHERE subject_id = %s", (stage.doors.api.catalogue.dataset("staff").id, whom)
    )
    assert erase(stage, secret, whom) == [], "no record of this person is of a dataset that may be erased"


def test_an_erasure_by_a_session_needs_a_fresh_sign_in(stage: Stage) -> None:
    stage.allow(ERASE)
    secret, token = stage.session(kind="session"), stage.session(auth_at="clock_timestamp() - interval '1 day'")
    for age, said in (("9 minutes 55 seconds", ""), ("10 minutes 5 seconds", "AR401"), ("1 day", "AR401")):
        stage.alter(secret, auth_at=f"clock_timestamp() - interval '{age}'")
        assert denied(stage, "api", codec.ERASE, [secret, stage.provide, stage.reason, None, [stage.person().subject]]) == said
    assert len(erase(stage, token, stage.person().subject)) == 1


def test_a_restriction_is_set_and_lifted_with_an_entry(stage: Stage) -> None:
    stage.allow(RESTRICT)
    whom, other, secret = stage.person().subject, stage.person().subject, stage.session()
    for lock, status in ((True, "restricted"), (True, "restricted"), (False, "active")):
        last = stage.last()
        ((number,),) = stage.rows("api", codec.RESTRICT, secret, stage.provide, stage.reason, "A-2", whom, lock)
        assert number == stage.last()
        assert stage.entries(last) == [
            (
                RESTRICT,
                True,
                "api",
                stage.actor(secret),
                stage.role,
                whom,
                None,
                None,
                0,
                stage.provide,
                stage.reason,
                "A-2",
                stage.policy,
            )
        ]
        assert stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", whom) == status
        assert stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", other) == "active"


def test_single_records_end_one_by_one(stage: Stage) -> None:
    made, other, secret = stage.person(), stage.person(), stage.session()
    second = uuid4()
    stage.admin.execute("INSERT INTO vault.record SELECT subject_id, %s, dataset, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (second, made.record))  # fmt: skip
    words = [
        secret,
        stage.provide,
        stage.reason,
        "A-3",
        [made.subject, other.subject, made.subject],
        [made.record, made.record, uuid4()],
    ]
    assert stage.rows("api", codec.ERASE_RECORDS, *words) == []
    stage.allow(ERASE)
    last = stage.last()
    ((record, number),) = stage.rows("api", codec.ERASE_RECORDS, *words)
    assert (record, number) == (made.record, stage.last())
    assert stage.entries(last) == [
        (
            ERASE,
            True,
            "api",
            stage.actor(secret),
            stage.role,
            made.subject,
            made.record,
            stage.account.id,
            0,
            stage.provide,
            stage.reason,
            "A-3",
            stage.policy,
        )
    ]
    assert dependents(stage, made.subject)[:3] == (1, 0, 0)
    assert dependents(stage, other.subject)[:3] == (1, 1, 1)
    assert stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", made.subject) == "active"
    ended = stage.admin.execute(
        "SELECT record_id, compartment, epoch IS NOT NULL, audit_id FROM vault.ended WHERE subject_id = %s", (made.subject,)
    ).fetchall()
    assert ended == [
        (made.record, stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id), True, number)
    ]


DESCRIBED = "SELECT record, dataset, ordinal, version, origin, written_at IS NOT NULL, event FROM vault.describe($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid)"
ACCESSED = "SELECT audit_id, operation, granted, reader, role, dataset, fields, purpose, reason, reference, leaf_no FROM vault.accesses($1::bytea, $2::smallint, $3::smallint, $4::uuid, $5::int, $6::bigint)"
ENTRY = "SELECT leaf_no, audit_id, operation, outcome, door, actor, actor_role, subject, record, dataset, fields, purpose, reason, reference, policy FROM vault.access_entry($1::bytea, $2::smallint, $3::bigint)"


def test_what_is_held_of_a_person_is_told_without_being_opened(stage: Stage) -> None:
    stage.allow(DESCRIBE)
    stage.allow(CORRECT)
    made, secret = stage.person(), stage.session()
    number = stage.doors.api.correct(secret, made.subject, made.record, {"name": "M", "phone": "5"}, "provide", "integration")  # type: ignore[arg-type]
    last = stage.last()
    rows = stage.rows("api", DESCRIBED, secret, stage.provide, stage.reason, "A-4", made.subject)
    assert stage.entries(last) == [
        (
            DESCRIBE,
            True,
            "api",
            stage.actor(secret),
            stage.role,
            made.subject,
            None,
            None,
            0,
            stage.provide,
            stage.reason,
            "A-4",
            stage.policy,
        )
    ]
    ordinals = stage.account.ordinals
    wanted = [
        (
            ordinals[name],
            2 if name == "name" else 1,
            1 if name in ("name", "phone") else 2,
            number if name in ("name", "phone") else made.audit_id,
        )
        for name in ("name", "email", "company", "role", "phone")
    ]
    assert [(row[2], row[3], row[4], row[6]) for row in rows] == sorted(wanted)
    assert all(row[:2] == (made.record, stage.account.id) and row[5] for row in rows)
    staff, second = stage.doors.api.catalogue.dataset("staff").id, uuid4()
    stage.admin.execute("INSERT INTO vault.record SELECT subject_id, %s, %s, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (second, staff, made.record))  # fmt: skip
    assert stage.rows("api", DESCRIBED, secret, stage.provide, stage.reason, None, made.subject) == rows, (
        "what the rule does not name is not told"
    )
    for words, said in (([b"n" * 32, stage.provide, stage.reason, None], "AR401"), ([secret, stage.provide, stage.rights, None], "AR422"), ([secret, stage.provide, stage.reason, "a"], "AR422"),
                        ([secret, stage.legal, stage.rights, None], "AR403")):  # fmt: skip
        assert denied(stage, "api", DESCRIBED, [*words, made.subject]) == said


@pytest.mark.parametrize("scope", ["own", "org", "all"])
def test_whose_lists_an_actor_sees(stage: Stage, scope: str) -> None:
    here = uuid4()
    mine, colleague, stranger, alone = stage.person(here), stage.person(here), stage.person(), stage.person()
    stage.admin.execute("UPDATE vault.subject SET org_id = NULL WHERE subject_id = %s", (alone.subject,))
    member, free = stage.session(actor=mine.subject, org=here), stage.session()
    for operation in (READ, ERASE):
        stage.allow(operation)
    asked: list[tuple[bytes, Created, bool]] = [
        (member, mine, True), (member, colleague, scope != "own"), (member, stranger, scope == "all"), (member, alone, scope == "all"), (free, alone, scope == "all"),
    ]  # fmt: skip
    for allowed in (False, True):
        if allowed:
            stage.allow(DESCRIBE, scope)
            stage.allow(ACCESSES, scope)
        for secret, made, seen in asked:
            said = "" if allowed and seen else "AR403"
            assert denied(stage, "api", DESCRIBED, [secret, stage.provide, stage.reason, None, made.subject]) == said
            assert denied(stage, "api", ACCESSED, [secret, stage.provide, stage.reason, made.subject, 9, None]) == said
            assert len(stage.rows("api", ENTRY, secret, stage.provide, made.audit_id)) == (1 if allowed and seen else 0)
            assert stage.rows("api", ENTRY, secret, stage.legal, made.audit_id) == []
    gone = stage.person(here, state="erased")
    assert denied(stage, "api", DESCRIBED, [member, stage.provide, stage.reason, None, gone.subject]) == "AR403"
    assert denied(stage, "api", DESCRIBED, [member, stage.provide, stage.reason, None, uuid4()]) == "AR403"
    assert denied(stage, "api", ACCESSED, [member, stage.provide, stage.reason, uuid4(), 9, None]) == (
        "" if scope == "all" else "AR403"
    )
    assert denied(stage, "api", ACCESSED, [member, stage.provide, stage.rights, mine.subject, 9, None]) == "AR422"


def test_who_used_a_persons_data_newest_first(stage: Stage) -> None:
    stage.allow(ACCESSES)
    stage.allow(READ, fields=stage.name)
    made, other, secret = stage.person(), stage.person(), stage.session()
    stage.ask(secret, made.subject, ref="A-5")
    stage.ask(secret, other.subject)
    stage.ask(secret, made.subject, stage.name | stage.email)
    last = stage.last()
    rows = stage.rows("api", ACCESSED, secret, stage.provide, stage.reason, made.subject, 50, None)
    actor, role = stage.actor(secret), f"stage-{stage.role}"
    assert stage.entries(last)[0][:2] == (ACCESSES, True)
    assert [row[1] for row in rows] == ["accesses", "read", "read", "create"]
    head, refused, granted, first = rows
    assert head[2:] == (True, actor, role, None, [], "provide", "integration", None, None)
    assert refused[2:] == (False, actor, role, "account", ["name", "email"], "provide", "integration", None, None)
    assert granted[2:] == (True, actor, role, "account", ["name"], "provide", "integration", "A-5", None)
    assert first[0] == made.audit_id
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    for most, before, numbers in (
        (1, None, 1),
        (2, None, 2),
        (0, None, 1),
        (-5, None, 1),
        (None, granted[0], 1),
    ):
        found = stage.rows("api", ACCESSED, secret, stage.provide, stage.reason, made.subject, most, before)
        assert len(found) == numbers, (most, before)
        assert all(before is None or row[0] < before for row in found)
    (entry,) = stage.rows("api", ENTRY, secret, stage.provide, granted[0])
    sha256 = stage.value("SELECT sha256 FROM vault.policy_version WHERE policy_id = %s", stage.policy)
    assert entry == (
        None,
        granted[0],
        "read",
        "granted",
        "api",
        actor,
        role,
        made.subject,
        None,
        "account",
        ["name"],
        "provide",
        "integration",
        "A-5",
        sha256,
    )
    assert stage.rows("api", ENTRY, secret, stage.provide, refused[0])[0][3] == "refused"
    assert stage.refused("api", ENTRY, b"n" * 32, stage.provide, granted[0]) == "AR401"


def test_a_creation_that_was_sent_twice_finds_the_first(stage: Stage) -> None:
    stage.allow(CREATE)
    secret, other = stage.session(), stage.session()
    words = creation(stage, secret)
    (number,) = create(stage, words)
    whom, record = words[4][0], words[7][0]
    made = "SELECT vault.made($1::bytea, $2::uuid, $3::uuid)"

    def answer(who: bytes, subject: UUID, which: UUID) -> object:
        return stage.rows("api", made, who, subject, which)[0][0]

    assert answer(secret, whom, record) == number
    assert answer(secret, whom, uuid4()) == -1
    assert answer(secret, uuid4(), record) is None
    assert answer(other, whom, record) is None
    assert stage.refused("api", made, b"n" * 32, whom, record) == "AR401"
    second = account(subject=whom, kind=None, org=None)
    more = creation(stage, secret, second)
    (later,) = create(stage, more)
    assert (answer(secret, whom, record), answer(secret, whom, more[7][0])) == (number, later)
    stage.allow(READ)
    stage.ask(secret, (fresh := stage.person()).subject, record=fresh.record)
    assert answer(secret, fresh.subject, fresh.record) is None, "a read makes nothing"


def test_the_fact_of_a_refusal_is_kept(stage: Stage) -> None:
    secret, whom, last = stage.session(), uuid4(), stage.last()
    note = codec.NOTE_REFUSAL
    assert stage.rows("api", note, secret, ERASE, stage.provide, stage.reason, whom, stage.account.id)[0][0] == stage.last()
    stage.rows("api", note, secret, 21, None, None, None, None)
    stage.rows("api", note, secret, 1, stage.provide, stage.reason, None, None)
    actor = stage.actor(secret)
    assert stage.entries(last) == [
        (ERASE, False, "api", actor, stage.role, whom, None, stage.account.id, 0, stage.provide, stage.reason, None, stage.policy),
        (21, False, "api", actor, stage.role, None, None, None, 0, 0, 0, None, stage.policy), (1, False, "api", actor, stage.role, None, None, None, 0, stage.provide, stage.reason, None, stage.policy),
    ]  # fmt: skip
    for operation in (0, 22):
        assert denied(stage, "api", note, [secret, operation, None, None, None, None]) == "AR422"
    assert denied(stage, "api", note, [b"n" * 32, ERASE, None, None, None, None]) == "AR401"


def test_a_reference_is_of_its_shape(stage: Stage) -> None:
    stage.allow(RESTRICT)
    secret, whom = stage.session(), stage.person().subject
    for ref, said in (
        ("A1", ""),
        ("A-1", ""),
        ("ABCDEFGH123456789012", ""),
        ("", "AR422"),
        ("1", "AR422"),
        ("A", "AR422"),
        ("A--1", "AR422"),
        ("a1", "AR422"),
        ("ABCDEFGHI1", "AR422"),
        ("A1234567890123", "AR422"),
    ):
        assert denied(stage, "api", codec.RESTRICT, [secret, stage.provide, stage.reason, ref, whom, False]) == said, ref
