"""correct called as a door's own role: every condition, with the case on either side."""

from __future__ import annotations

from uuid import uuid4

from armonika.trust.vault import codec
from armonika.trust.vault.types import NewRecord
from tests.vault.stage import CORRECT, READ, Stage
from tests.vault.undone import record
from tests.vault.words import (
    Correction,
    account,
    denied,
)


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
    staff = stage.doors.api.catalogue.dataset("staff").id
    stage.allow(CORRECT, dataset=staff)
    words = Correction(stage, made, secret, name="M").words
    stage.admin.execute("UPDATE vault.record SET dataset = %s WHERE record_id = %s", (staff, made.record))
    assert denied(stage, "api", codec.CORRECT, words) == "AR403", "of a compartment that this door does not hold"
    stage.admin.execute("UPDATE vault.record SET dataset = %s WHERE record_id = %s", (stage.account.id, made.record))
    assert stage.refused("site", codec.CORRECT, *Correction(stage, made, secret, name="M").words) == "AR401"


def test_a_correction_changes_no_other_record(stage: Stage) -> None:
    """Neither another one of the person nor one of the same number of somebody else, nor their look-ups."""
    stage.allow(CORRECT)
    made, other, secret = stage.person(), stage.person(), stage.session()
    second, namesake = record(stage, made.subject), record(stage, other.subject, number=made.record)
    for whom, which in ((made.subject, second), (other.subject, namesake)):
        stage.admin.execute(
            "INSERT INTO vault.lookup SELECT dataset, ordinal, epoch, sha256(uuid_send(gen_random_uuid())), %s, %s, false FROM vault.lookup WHERE record_id = %s AND subject_id = %s",
            (whom, which, made.record, made.subject),
        )
    shown = (
        "SELECT (SELECT jsonb_agg(to_jsonb(r) ORDER BY r.record_id, r.subject_id) FROM vault.record r WHERE (r.subject_id, r.record_id) <> (%s, %s)), "
        "(SELECT jsonb_agg(to_jsonb(l) ORDER BY l.digest, l.record_id) FROM vault.lookup l WHERE (l.subject_id, l.record_id) <> (%s, %s))"
    )
    place = (made.subject, made.record) * 2
    stage.admin.execute("DELETE FROM vault.data_key WHERE subject_id = %s AND record_id = %s", (other.subject, namesake))
    before = stage.admin.execute(shown.encode(), place).fetchone()
    assert Correction(stage, made, secret, email=f"{uuid4().hex}@org.example")() == ""
    assert stage.admin.execute(shown.encode(), place).fetchone() == before


def test_a_field_that_the_policy_in_force_does_not_declare_is_not_written(stage: Stage) -> None:
    """Even where a rule speaks of every field."""
    stage.allow(CORRECT)
    made, secret = stage.person(), stage.session()
    correction = Correction(stage, made, secret, name="M")
    for ordinal in (40, 62):
        for expected in (0, 1):
            assert correction(ordinals=[ordinal], expected=[expected]) == "AR422"


def test_a_record_grows_with_a_field_that_was_left_out(stage: Stage) -> None:
    stage.allow(CORRECT)
    api, token, secret = stage.doors.api, stage.doors.token, stage.session()
    short = NewRecord("account", {"name": "N"}, "organisation", subject=stage.person().subject)
    (made,) = api.create(token, "provide", "integration", [short])
    assert Correction(stage, made, secret, phone="7")() == ""
    widths = "SELECT cardinality(versions), cardinality(ciphertexts), cardinality(origins), cardinality(events) FROM vault.record WHERE record_id = %s"
    assert stage.admin.execute(widths.encode(), (made.record,)).fetchone() == (4, 4, 4, 4)
    grown = stage.admin.execute("SELECT origins, events FROM vault.record WHERE record_id = %s", (made.record,)).fetchone()
    assert grown is not None
    assert (grown[0], grown[1][1:]) == ([2, 3, 3, 3], [stage.last()] * 3), "what is between is as new as the field"
    assert Correction(stage, made, secret, name="M")() == ""
    assert stage.admin.execute(widths.encode(), (made.record,)).fetchone() == (4, 4, 4, 4)
    (read,) = api.read(token, made.subject, "account", ["name", "phone"], "provide", "integration", record=made.record)
    assert read.values == {"name": "M", "phone": "7"}
    assert Correction(stage, made, secret, name="O")(ordinals=[[1]]) == "AR422"
