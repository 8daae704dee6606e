"""Parameters and rows between vault and database, in memory: every column in its place, every item with its own result or error."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.trust.vault import codec, errors
from armonika.trust.vault.catalogue import Catalogue
from armonika.trust.vault.envelope import Envelope
from armonika.trust.vault.types import Ask, Created, Find, NewRecord, Outcome, Record, SecretHash
from tests.trust.test_catalogue import CONTENT
from tests.trust.test_envelope import FULL, RECORD, WHOM, digest

CATALOGUE, ENVELOPE = Catalogue(CONTENT), Envelope(FULL)
ACCOUNT = CATALOGUE.dataset("account")
ONE, TWO = SecretHash(b"1" * 32), SecretHash(b"2" * 32)


def ask(secret: SecretHash = ONE, **more: Any) -> Ask:
    return Ask(
        **(
            {
                "secret": secret,
                "subject": WHOM,
                "dataset": "account",
                "fields": ["name"],
                "purpose": "provide",
                "reason": "own-view",
            }
            | more
        )
    )


def test_statements_name_each_parameter_once_and_in_order() -> None:
    for name, count in (
        ("ASK", 10),
        ("ASK_FIND", 10),
        ("TAKE", 3),
        ("READ_AT_ONCE", 10),
        ("FIND_AT_ONCE", 10),
        ("CREATE", 21),
        ("CORRECT", 13),
        ("ERASE", 5),
        ("ERASE_RECORDS", 6),
        ("RESTRICT", 6),
        ("NOTE_REFUSAL", 6),
        ("WHOAMI", 1),
        ("CATALOGUE", 0),
    ):
        statement = getattr(codec, name)
        found = [word.split(":")[0].rstrip(",)") for word in statement.replace("(", " ").split() if word.startswith("$")]
        assert statement.endswith(")")
        assert found == [f"${number}" for number in range(1, count + 1)], name
        plain = codec.percent(statement)
        assert "$" not in plain
        assert plain.count("%s") == count
    assert codec.percent("SELECT $1::int, $12::text") == "SELECT %s::int, %s::text"
    assert (codec.READ, codec.RELEASE, codec.FORBIDDEN) == (1, 8, 2)
    assert codec.ORIGINS == {"subject": 1, "organisation": 2, "operator": 3, "system": 4}
    assert codec.ORIGIN_NAMES == {1: "subject", 2: "organisation", 3: "operator", 4: "system"}


UNAVAILABLE = (errors.Unavailable, "the store does not answer now; try again in a moment")
STATES: dict[str | None, tuple[type[errors.VaultError], str]] = {
    "AR401": (errors.SessionEnded, "sign in again: the session or token is not valid here"), "AR403": (errors.Refused, "there is nothing here for this actor and purpose"),
    "AR409": (errors.Duplicate, "a value that must be unique is taken"), "AR412": (errors.VersionConflict, "the value changed since it was read: read it again"),
    "AR422": (errors.Undeclared, "a field, dataset, purpose, reason or reference is not declared in the policy in force"), "AR423": (errors.Restricted, "processing of this person is restricted"),
    "AR428": (errors.KeysChanged, "the keys are being renewed; try again in a moment"), "23505": UNAVAILABLE, None: UNAVAILABLE, "": UNAVAILABLE,
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_sqlstate_is_a_typed_error(state: str | None) -> None:
    made = codec.error_of(state)
    assert (type(made), str(made)) == STATES[state]


def test_a_verdict_is_a_typed_error() -> None:
    assert [type(codec.verdict_error(number)) for number in (1, 2, 3, 4, 5)] == [
        errors.SessionEnded,
        errors.Forbidden,
        errors.Refused,
        errors.Restricted,
        errors.Refused,
    ]
    assert [str(codec.verdict_error(number)) for number in (1, 3, 4)] == [
        str(codec.error_of(state)) for state in ("AR401", "AR403", "AR423")
    ]


def test_asks_that_agree_share_a_shape() -> None:
    other = uuid4()
    asks = [
        ask(), ask(subject=other, record=RECORD), ask(TWO), ask(fields=["name", "email"]), ask(dataset="nothing"), ask(reference="A-1"), ask(purpose="legal"), ask(reason="a-first"), ask(),
        ask(fields=["salary"]), ask(purpose="none"), ask(reason="none"), ask(dataset="demo"), ask(dataset="nothing"),
    ]  # fmt: skip
    parameters, positions, failed = codec.ask_parameters(CATALOGUE, asks)
    assert positions == [0, 1, 2, 3, 5, 6, 7, 8, 12]
    assert {at: type(error) for at, error in failed.items()} == dict.fromkeys((4, 9, 10, 11, 13), errors.Undeclared)
    secrets, whats, purposes, reasons, references, subjects, records, datasets, masks, shapes = parameters
    assert secrets == [ONE, TWO, ONE, ONE, ONE, ONE, ONE]
    assert whats == [1] * 7
    assert purposes == [1, 1, 1, 1, 6, 1, 1]
    assert reasons == [3, 3, 3, 3, 3, 9, 3]
    assert references == [None, None, None, "A-1", None, None, None]
    assert datasets == [1, 1, 1, 1, 1, 1, 3]
    assert masks == [1, 1, 3, 1, 1, 1, 1]
    assert subjects == [WHOM, other, *[WHOM] * 7]
    assert records == [None, RECORD, *[None] * 7]
    assert shapes == [1, 1, 2, 3, 4, 5, 6, 1, 7]
    assert codec.ask_parameters(CATALOGUE, [ask()], codec.RELEASE)[0][1] == [8]
    assert codec.ask_parameters(CATALOGUE, [ask(dataset="nothing")])[:2] == ([[], [], [], [], [], [], [], [], [], []], [])


def test_a_take_is_of_what_was_granted() -> None:
    asked, _, _ = codec.ask_parameters(CATALOGUE, [ask(), ask(TWO), ask(), ask(TWO)])
    assert codec.take_parameters(asked, [(5, 0), (None, 3), (7, 0), (8, 0)]) == [[ONE, TWO], [5, 7, 8], [1, 1, 2]]
    with pytest.raises(ValueError):  # noqa: PT011
        codec.take_parameters(asked, [(5, 0)])


def test_look_ups_of_one_shape_have_a_digest_an_epoch() -> None:
    finds = [
        Find(ONE, "account", "email", email, ["name"], "provide", "own-view", "A-1")
        for email in ("a@b.dz", "no address", "C@d.dz")
    ]
    parameters, positions, failed = codec.find_parameters(CATALOGUE, ENVELOPE, finds)
    assert positions == [0, 2]
    assert {at: type(error) for at, error in failed.items()} == {1: errors.Invalid}
    digests = [digest("email", email, epoch) for email in ("a@b.dz", "c@d.dz") for epoch in (2, 3)]
    assert parameters == [ONE, 1, 3, "A-1", 1, 2, [2, 3, 2, 3], digests, 1, [1, 1, 2, 2]]
    for wrong in ({"field": "name"}, {"dataset": "nothing"}, {"purpose": "none"}, {"reason": "none"}, {"fields": ["salary"]}):
        plain = {
            "secret": ONE,
            "dataset": "account",
            "field": "email",
            "value": "a@b.dz",
            "fields": ["name"],
            "purpose": "provide",
            "reason": "own-view",
        }
        with pytest.raises(errors.Undeclared):
            codec.find_parameters(CATALOGUE, ENVELOPE, [Find(**(plain | wrong))])


def taken(item: int, record: UUID = RECORD, values: dict[str, str] | None = None, **changed: Any) -> tuple[Any, ...]:
    sealed = ENVELOPE.seal(ACCOUNT, WHOM, record, values or {"name": "N", "email": "a@b.dz"})
    row = {"item": item, "subject": WHOM, "record": record, "dataset": 1, "kind": sealed.kind, "epoch": sealed.epoch, "wrapped": sealed.wrapped, "fields": sealed.mask,
           "versions": [1] * len(sealed.ciphertexts), "ciphertexts": list(sealed.ciphertexts)} | changed  # fmt: skip
    return tuple(row.values())


def test_rows_open_for_their_item_and_fail_alone() -> None:
    second = uuid4()
    rows = [
        taken(1),
        taken(1, second, {"name": "M"}),
        taken(3, wrapped=b"x"),
        taken(3),
        taken(4, dataset=99),
        taken(5),
        taken(5, epoch=9),
        taken(6, fields=1),
    ]
    opened = codec.open_rows(CATALOGUE, ENVELOPE, rows, [11, 12, 13, 14, 15, 16])
    assert opened[0] == [
        Record(WHOM, RECORD, "account", {"name": "N", "email": "a@b.dz"}, {"name": 1, "email": 1}, 11),
        Record(WHOM, second, "account", {"name": "M"}, {"name": 1}, 11),
    ]
    assert 1 not in opened
    assert [type(opened[number]) for number in (2, 3, 4)] == [errors.Tampered, errors.Tampered, errors.KeyUnavailable]
    assert opened[5] == [Record(WHOM, RECORD, "account", {"name": "N"}, {"name": 1}, 16)]


def test_results_come_in_the_order_of_the_asks() -> None:
    record = Record(WHOM, RECORD, "account", {}, {}, 7)
    broken, wrong = errors.Tampered("x"), errors.Undeclared("y")
    answers = [(7, 0), (None, 4), (8, 0), (9, 0), (None, 1)]
    found = codec.outcomes(7, [0, 2, 3, 4, 6], answers, {0: [record], 1: broken}, {1: wrong, 5: wrong})
    assert found[0] == Outcome([record])
    assert found[1].error is found[5].error is wrong
    assert type(found[2].error) is errors.Restricted
    assert found[3].error is broken
    assert found[4] == Outcome()
    assert type(found[6].error) is errors.SessionEnded
    assert codec.outcomes(0, [], [], {}, {}) == []
    with pytest.raises(ValueError):  # noqa: PT011
        codec.outcomes(1, [0], [], {}, {})


def test_a_creation_in_columns() -> None:
    chosen, record, known, org = uuid4(), uuid4(), uuid4(), uuid4()
    records = [
        NewRecord("account", {"name": "N", "email": "a@b.dz"}, "organisation", kind="customer_user", org=org, new_subject=chosen, new_record=record),
        NewRecord("account", {"phone": "5"}, "system", subject=known, kind="ignored", org=None),
        NewRecord("account", {"name": "M"}, "subject", kind="prospect"),
    ]  # fmt: skip
    parameters, made = codec.create_parameters(CATALOGUE, ENVELOPE, ONE, "provide", "own-view", "A-1", records, ("task:fr",))
    assert parameters[:4] == [ONE, 1, 3, "A-1"]
    subjects, kinds, orgs, ids, datasets, masks, origins, key_kinds, epochs, wrapped = parameters[4:14]
    assert made[:2] == [(chosen, record), (known, made[1][1])]
    assert len({*made[1], *made[2], chosen, record}) == 6
    assert (subjects, ids) == ([one for one, _ in made], [two for _, two in made])
    assert (kinds, orgs, datasets, masks, origins, key_kinds, epochs) == (
        ["customer_user", None, "prospect"],
        [org, None, None],
        [1] * 3,
        [3, 8, 1],
        [2, 4, 1],
        [1] * 3,
        [3] * 3,
    )
    assert len(set(wrapped)) == 3
    items, ciphertexts = parameters[14:16]
    assert items == [1, 1, 2, 2, 2, 2, 3]
    assert [cipher is None for cipher in ciphertexts] == [False, False, True, True, True, False, False]
    assert parameters[16:20] == [[1, 1], [2, 2], [2, 3], [digest("email", "a@b.dz", 2), digest("email", "a@b.dz", 3)]]
    assert parameters[20] == ["task:fr"]
    assert codec.created(made[:2], [5, 6]) == [Created(chosen, record, 5), Created(*made[1], 6)]
    with pytest.raises(ValueError):  # noqa: PT011
        codec.created(made, [1])
    for wrong in (
        NewRecord("account", {"name": "N"}, "subject"),
        NewRecord("nothing", {"name": "N"}, "subject", kind="k"),
        NewRecord("account", {}, "subject", kind="k"),
    ):
        with pytest.raises(errors.Undeclared):
            codec.create_parameters(CATALOGUE, ENVELOPE, ONE, "provide", "own-view", None, [wrong], ())
    for purpose, reason in (("none", "own-view"), ("provide", "none")):
        with pytest.raises(errors.Undeclared):
            codec.create_parameters(CATALOGUE, ENVELOPE, ONE, purpose, reason, None, records, ())


def test_a_correction_expects_what_was_seen() -> None:
    row = taken(1, versions=[4, 6, None, None])
    changes = {"email": "C@d.dz", "name": "M", "phone": "5"}

    def parameters(expected: dict[str, int] | None, fields: int = 3, given: dict[str, str] = changes) -> list[Any]:
        return codec.correct_parameters(
            CATALOGUE,
            ENVELOPE,
            ACCOUNT,
            (*row[:7], fields, *row[8:]),
            ONE,
            WHOM,
            RECORD,
            given,
            "provide",
            "own-view",
            "A-1",
            expected,
            "operator",
        )

    made = parameters(None)
    assert made[:9] == [ONE, 1, 3, "A-1", WHOM, RECORD, 3, [2, 1, 4], [6, 4, 0]]
    assert made[10:] == [[2, 2], [2, 3], [digest("email", "c@d.dz", 2), digest("email", "c@d.dz", 3)]]
    sealed = dict(zip(made[7], made[9], strict=True))
    opened = codec.open_rows(CATALOGUE, ENVELOPE, [(*row[:7], 11, [5, 7, None, 1], [sealed[1], sealed[2], None, sealed[4]])], [1])
    assert [one.values for one in opened[0]] == [{"name": "M", "email": "C@d.dz", "phone": "5"}]  # type: ignore[union-attr]
    assert parameters({"email": 2})[8] == [2, 0, 0]
    assert parameters(None, fields=1)[8] == [0, 4, 0]
    assert parameters(None, given={"name": "M"})[10:] == [[], [], []]
