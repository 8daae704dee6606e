"""The policy: it is whole, each contradiction is found where it stands, the parser survives anything, changes need their date."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armonika import policy as policies
from armonika.policy import PolicyError, parse
from armonika.policy.check import check, dates, numbers
from armonika.policy.compile import catalogue
from armonika.policy.diff import diff, succession
from armonika.policy.render import render, render_text
from armonika.verify import checks

SOURCE = policies.DEFAULT.read_text()


def says_something(error: PolicyError) -> None:
    assert len(str(error)) > 10


def changed(before: str, after: str, count: int = 1) -> policies.Policy:
    assert before in SOURCE, before
    return parse(SOURCE.replace(before, after, count))


def test_the_policy_has_no_contradiction_and_all_110_claims() -> None:
    policy = policies.load()
    assert check(policy, checks.names()) == []
    assert len(policy.claims) == len({claim.id for claim in policy.claims}) == 110
    assert (
        {claim.check for claim in policy.claims} - {"unproven", "attested"}
        <= set(checks.names())
        <= {claim.id for claim in policy.claims}
    )


@pytest.mark.parametrize(
    ("before", "after", "where", "problem"),
    [
        ('purposes = ["provide", "respond", "legal"]', "purposes = []", "field account.name", "no purpose"),
        ('name = "provide"\nbasis = "contract"', 'name = "provide"', "purpose provide", "no legal basis"),
        ('name = "provide"\nbasis = "contract"', 'name = "provide"\nbasis = "vital_interest"', "purpose provide", "not declared"),
        ('check = "7a.3"', 'check = ""', "claim 7a.3", "neither a check nor a mark"),
        ('check = "7a.3"', 'check = "7a.33"', "claim 7a.33", "does not exist"),
        ('claims = ["9b.1", ', "claims = [", "claim 9b.1", "stands in 0 sentences"),
        ('note = "gap G1"', 'note = ""', "sentence 1a+", "orphan"),
        ("sous 10 jours", "sous 30 jours", "sentence 8a (fr)", "other numbers"),
        ("25 نوفمبر 2026", "26 نوفمبر 2026", "sentence P1 (ar)", "another date"),
        ("or Armonika, Cité 08 Mai 45, Bt 5 N°5", "or Armonika, Cité 08 Mai 45, Bt 5 N°6", "sentence 12a (en)", "another address"),
        ('roles = ["site"]\npurpose = "provide"\ndataset = "demo"', 'roles = ["site"]\npurpose = "profiling"\ndataset = "demo"', "rule", "not declared"),
        ('retention = "account_life"', 'retention = "forever"', "field account.name", "retention"),
        ("days = 90", "days = 0", "retention drug_test", "no end"),
        ('days = 90\nstarts = "recording"', 'days = 90\nstarts = "someday"', "retention drug_test", "starts with"),
        ('purposes = ["provide", "respond", "legal", "secure", "abuse_fraud"]\nretention = "account_life"', 'purposes = ["provide", "respond", "legal", "secure", "abuse_fraud"]\nretention = "traffic"', "dataset account", "key of its own"),
        ('roles = ["retention"]\npurpose = "legal"\ndataset = "ticket"', 'roles = ["dpo"]\npurpose = "legal"\ndataset = "ticket"', "dataset ticket", "ended by nobody"),
        ('roles = ["sales"]\npurpose = "respond"\ndataset = "demo"\noperations = ["event"]', 'roles = ["dpo"]\npurpose = "legal"\ndataset = "traffic"\noperations = ["event"]', "dataset traffic", "tells its event"),
        ('roles = ["sales"]\npurpose = "respond"\ndataset = "demo"\noperations = ["event"]', 'roles = ["dpo"]\npurpose = "legal"\ndataset = "traffic"\noperations = ["erase"]', "dataset traffic", "locked by law"),
        ('name = "retention"\npurposes', 'name = "expiry"\npurposes', "role and reason retention", "not both declared"),
        ('timpani = { traffic = "full" }', 'timpani = { traffic = "full", applicants = "full" }', "doors.timpani", "together"),
        ('name = "algiers-1"\ncountry = "DZ"', 'name = "algiers-1"\ncountry = "FR"', "place algiers-1", "outside"),
        ('journey = "sign-in"', 'journey = ""', "cookie __Host-session", "no journey"),
        ("max_age_hours = 12", "max_age_hours = 8760", "cookie __Host-session", "12 hours"),
        ('fields = ["name", "email", "role"]', 'fields = ["name", "salary"]', "rule", "does not declare"),
        ('unique = true\n', 'unique = true\nmax_age = 1\n', "", ""),
    ],
)  # fmt: skip
def test_each_contradiction_is_found_where_it_stands(before: str, after: str, where: str, problem: str) -> None:
    if not where:
        with pytest.raises(PolicyError, match="unknown key"):
            changed(before, after)
        return
    found = check(changed(before, after), checks.names())
    assert any(finding.where.startswith(where) and problem in f"{finding.problem} {finding.mend}" for finding in found), [
        str(f) for f in found
    ]
    assert all(finding.mend for finding in found)


@given(st.text(max_size=400))
def test_any_text_is_parsed_or_refused_with_a_typed_error(text: str) -> None:
    try:
        parse(text)
    except PolicyError as error:
        says_something(error)


@given(st.data())
def test_any_mutation_of_the_policy_is_parsed_or_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SOURCE) - 1))
    cut = data.draw(st.integers(0, 40))
    text = SOURCE[:at] + data.draw(st.text(max_size=20)) + SOURCE[at + cut :]
    try:
        check(parse(text))
    except PolicyError as error:
        says_something(error)


def test_a_policy_cannot_be_changed_and_its_hash_is_of_its_content() -> None:
    policy = policies.load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.version = "2"  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.doors["site"] = {}  # type: ignore[index]
    assert parse("# a comment\n" + SOURCE).sha256 == policy.sha256
    assert changed("max_length = 254", "max_length = 255").sha256 != policy.sha256


@pytest.mark.parametrize(
    ("before", "after", "material"),
    [
        ('purposes = ["provide", "respond", "legal"]', 'purposes = ["provide", "respond"]', True),
        ("days = 365", "days = 400", True),
        ('country = "DZ"\nlabel', 'country = "FR"\nlabel', True),
        ("so that we know whom we are speaking to", "to know whom we are speaking to", False),
        ("Personal data are never sold by us", "Personal data are not ever sold by us", False),
    ],
)
def test_a_material_change_needs_a_later_date_and_wording_does_not(before: str, after: str, material: bool) -> None:
    old, new = policies.load(), changed(before, after)
    assert any(change.material for change in diff(old, new)) is material
    assert bool(succession(old, new)), "the version must change either way"
    renamed = parse(new.document.replace('version = "1.2"', 'version = "1.3"'))
    assert bool(succession(old, renamed)) is material
    dated = parse(renamed.document.replace('effective_from = "2026-11-25"', 'effective_from = "2027-01-01"'))
    assert succession(old, dated) == []


def test_every_sentence_and_table_is_rendered_in_three_languages() -> None:
    policy = policies.load()
    for language in policy.languages:
        document = render(policy, language)
        assert [section.id for section in document.sections] == [clause.id for clause in policy.clauses]
        text = render_text(policy, language)
        for clause in policy.clauses:
            for sentence in clause.sentences:
                assert sentence.text[language] in text
        assert sum(len(section.tables) for section in document.sections) >= len(policy.datasets)


def test_the_catalogue_names_only_what_is_declared() -> None:
    compiled = catalogue(policies.load())
    assert {"role", "purpose", "dataset", "operation", "scope", "fields"} == set(compiled["rules"][0])
    assert all(rule["fields"] for rule in compiled["rules"])
    assert compiled["effective_from"] == "2026-11-25T00:00:00+01:00"


def test_numbers_and_dates_are_read_alike_in_three_languages() -> None:
    assert numbers("1\u202f234,56 and 10") == numbers("١\u202f٢٣٤,٥٦ و 10")
    assert dates("1 June 2026", "en") == dates("1er juin 2026", "fr") == dates("1 جوان 2026", "ar")
    assert not re.search(r"[٠-٩]", SOURCE), "Western digits in the three languages"
