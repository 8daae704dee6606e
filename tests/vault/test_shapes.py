"""Writes whose arrays say less than they carry: what the policy decided by, and what the entry names, is all that is written."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from armonika.trust import crypto
from armonika.trust.vault import codec
from tests.vault.stage import CORRECT, CREATE, Stage
from tests.vault.words import CREATE_NAMES, Correction, account, create, creation, denied

SHAPE = "AR422"


@pytest.mark.parametrize(
    "changed",
    [
        {"ordinals": [65]},
        {"ordinals": [-63]},
        {"ordinals": [32767 - 62]},
        {"ordinals": [1, 1], "expected": [1, 2], "ciphertexts": [b"a", b"b"]},
        {"ordinals": [1, None]},
        {"expected": [None]},
        {"expected": []},
        {"expected": [[1]]},
        {"expected": [1, 1]},
        {"ordinals": [[1]]},
        {"origin": None},
    ],
    ids=str,
)
def test_a_correction_of_one_field_moves_no_other(stage: Stage, changed: dict[str, Any]) -> None:
    stage.allow(CORRECT, fields=stage.name)
    assert stage.account.ordinals["name"] == 1
    change = Correction(stage, stage.person(), stage.session(), name="M")
    assert change(**changed) == SHAPE
    assert change() == ""


@pytest.mark.parametrize("changed", [{"expected": "[0:0]={7}"}, {"expected": "[2:2]={1}"}, {"ordinals": "[0:0]={1}"}], ids=str)
def test_an_array_that_begins_elsewhere_gets_past_no_version(stage: Stage, changed: dict[str, Any]) -> None:
    stage.allow(CORRECT, fields=stage.name)
    change = Correction(stage, stage.person(), stage.session(), name="M")
    assert change(**changed) == SHAPE
    assert change(expected="[1:1]={7}") == "AR412"
    assert change(expected="[1:1]={1}") == ""


@pytest.mark.parametrize("name", ["subjects", "datasets", "masks"])
def test_items_are_counted_from_one(stage: Stage, name: str) -> None:
    """Or look-ups of another epoch than those that are searched came in: a value could be taken twice."""
    stage.allow(CREATE)
    secret = stage.session()
    words = creation(stage, secret)
    (item,) = words[CREATE_NAMES.index(name)]
    for shape in (f"[0:0]={{{item}}}", f"[2:2]={{{item}}}", f"{{{{{item}}}}}"):
        assert denied(stage, "api", codec.CREATE, creation(stage, secret, **{name: shape, "lookup_epochs": [99]})) == SHAPE
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, lookup_epochs=[99])) == "AR428"
    assert len(create(stage, creation(stage, secret, **{name: f"[1:1]={{{item}}}"}))) == 1


def test_a_correction_writes_no_look_up_of_another_field(stage: Stage) -> None:
    stage.allow(CORRECT, fields=stage.name)
    change = Correction(stage, stage.person(), stage.session(), name="M")
    epochs = stage.account.indexing
    planted = {
        "lookup_ordinals": [stage.account.ordinals["email"]] * len(epochs),
        "lookup_epochs": list(epochs),
        "digests": [crypto.random_bytes(32) for _ in epochs],
    }
    assert change(**planted) == SHAPE


def test_a_creation_holds_only_what_its_mask_names(stage: Stage) -> None:
    stage.allow(CREATE, fields=stage.name)
    secret = stage.session()
    whole = creation(stage, secret)
    looks: dict[str, Any] = {"lookup_items": [], "lookup_ordinals": [], "lookup_epochs": [], "digests": []}
    alone = {"masks": [stage.name], "value_items": [1], "ciphertexts": [b"c" * 40]}
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, masks=[stage.name])) == SHAPE
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, masks=[stage.name], **looks)) == SHAPE
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, **alone)) == SHAPE
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, **alone | looks | {"ciphertexts": [None]})) == SHAPE
    assert len(whole) and len(create(stage, creation(stage, secret, **alone | looks))) == 1


def test_a_record_is_no_wider_than_a_mask(stage: Stage) -> None:
    """The 65th value would be counted as the first: a shift wraps."""
    stage.allow(CREATE, fields=stage.name)
    secret = stage.session()
    looks: dict[str, Any] = {"lookup_items": [], "lookup_ordinals": [], "lookup_epochs": [], "digests": []}
    value = b"c" * 40
    for values, said in (([value, *[None] * 61], ""), ([value, *[None] * 62], SHAPE), ([*[None] * 64, value], SHAPE)):
        wide = {"masks": [stage.name], "value_items": [1] * len(values), "ciphertexts": values}
        assert denied(stage, "api", codec.CREATE, creation(stage, secret, **wide | looks)) == said, len(values)


@pytest.mark.parametrize(
    ("ordinal", "said"), [(1, ""), (0, SHAPE), (2, SHAPE), (63, SHAPE), (65, SHAPE), (-63, SHAPE), (None, SHAPE)]
)
def test_a_look_up_is_of_a_field_that_is_held(stage: Stage, ordinal: int | None, said: str) -> None:
    stage.allow(CREATE, fields=stage.name)
    epochs = stage.account.indexing
    many = len(epochs)
    looks: dict[str, Any] = {
        "lookup_items": [1] * many,
        "lookup_ordinals": [ordinal] * many,
        "lookup_epochs": list(epochs),
        "digests": [crypto.random_bytes(32) for _ in epochs],
    }
    alone = {"masks": [stage.name], "value_items": [1], "ciphertexts": [b"c" * 40]}
    assert denied(stage, "api", codec.CREATE, creation(stage, stage.session(), **alone | looks)) == said


def test_a_field_that_the_policy_does_not_declare_is_not_created(stage: Stage) -> None:
    """Even where a rule speaks of every field, and what is sent is what the mask says."""
    stage.allow(CREATE)
    looks: dict[str, Any] = {"lookup_items": [], "lookup_ordinals": [], "lookup_epochs": [], "digests": []}
    for ordinal, said in ((stage.account.ordinals["company"], ""), (51, SHAPE)):
        value, gap = b"c" * 40, [None] * (ordinal - 2)
        mask = stage.name | 1 << (ordinal - 1)
        wide = {"masks": [mask], "value_items": [1] * ordinal, "ciphertexts": [value, *gap, value]}
        assert denied(stage, "api", codec.CREATE, creation(stage, stage.session(), **wide | looks)) == said


def test_a_look_up_is_decided_by_its_own_items_mask(stage: Stage) -> None:
    stage.allow(CREATE)
    secret, epochs, value = stage.session(), stage.account.indexing, b"c" * 40
    narrow, wide = stage.name, stage.name | stage.email
    looks: dict[str, Any] = {
        "lookup_ordinals": [stage.account.ordinals["email"]] * len(epochs),
        "lookup_epochs": list(epochs),
        "digests": [crypto.random_bytes(32) for _ in epochs],
    }
    held = {"value_items": [1, 2, 2], "ciphertexts": [value] * 3}
    for masks, item, said in (
        ([narrow, wide], 2, ""),
        ([narrow, wide], 1, SHAPE),
        (f"[0:1]={{{narrow},{wide}}}", 1, SHAPE),
        (f"{{{{{narrow}}},{{{wide}}}}}", 2, SHAPE),
    ):
        words = creation(stage, secret, account(), account(), masks=masks, lookup_items=[item] * len(epochs), **held | looks)
        assert denied(stage, "api", codec.CREATE, words) == said, masks


def test_a_value_is_as_long_as_the_longest_there_can_be(stage: Stage) -> None:
    stage.allow(CREATE)
    stage.allow(CORRECT)
    secret, made = stage.session(), stage.person()
    longest = stage.doors.api.create(stage.doors.token, "provide", "integration", [account(values={"name": "x" * 65536})])
    size = stage.value("SELECT octet_length(ciphertexts[1]) FROM vault.record WHERE record_id = %s", longest[0].record)
    change = Correction(stage, made, secret, name="M")
    words = creation(stage, secret)
    ciphers = words[CREATE_NAMES.index("ciphertexts")]
    for more, said in ((1, SHAPE), (0, "")):
        assert denied(stage, "api", codec.CREATE, creation(stage, secret, ciphertexts=[bytes(size + more), *ciphers[1:]])) == said
        assert change(ciphertexts=[bytes(size + more)]) == said


@pytest.mark.parametrize("kind", ["Amina Haddad", "", "a-b", "_a", "a" * 41, "a\n", "é"])
def test_what_stands_in_clear_is_no_more_than_a_kind(stage: Stage, kind: str) -> None:
    stage.allow(CREATE)
    secret = stage.session()
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, kinds=[kind])) == SHAPE
    assert denied(stage, "api", codec.CREATE, creation(stage, secret, kinds=["a_9" + "z" * 37])) == ""


def test_a_wrapped_key_is_no_more_than_a_key(stage: Stage) -> None:
    stage.allow(CREATE)
    for size, said in ((4097, SHAPE), (4096, "")):
        words = creation(stage, stage.session(), wrapped=[crypto.random_bytes(size)])
        assert denied(stage, "api", codec.CREATE, words) == said


def test_a_record_more_makes_no_organisation(stage: Stage) -> None:
    stage.allow(CREATE)
    known, org = account(subject=stage.person().subject, kind=None, org=None), uuid4()
    assert create(stage, creation(stage, stage.session(), known, orgs=[org]))
    assert stage.value("SELECT count(*) FROM vault.organisation WHERE org_id = %s", org) == 0
