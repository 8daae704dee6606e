"""What a password must be (NIST SP 800-63B): long enough, not common, not one's own words; everything else is allowed."""

from __future__ import annotations

import pytest

from armonika.rules.password import MAX_LENGTH, MIN_LENGTH, problem

COMMON = (
    "password passwort motdepasse azerty azertyuiop qwerty qwertyuiop 123456789012 abcdefghijkl iloveyou administrateur administrator "
    "changeme letmein welcome bienvenue algerie algeria alger armonika sovereign letmeinplease trustno1trustno1"
)


@pytest.mark.parametrize("word", COMMON.split())
def test_common_ones_are_refused_with_digits_and_signs_behind_and_in_any_case(word: str) -> None:
    if len(word) >= MIN_LENGTH:
        assert problem(word) == problem(word.upper()) == "common"
    if word.isalpha():
        for sign in "0123456789!?.-_ ":
            assert problem(word + sign * MIN_LENGTH) == "common", sign
            assert problem(word.upper() + sign * MIN_LENGTH) == "common"


def test_length_is_counted_in_characters_after_normalisation() -> None:
    assert (MIN_LENGTH, MAX_LENGTH) == (12, 1024)
    assert problem("kxvqzjwpmtr") == "short"
    assert problem("kxvqzjwpmtrb") is None
    assert problem("e\u0301" * 5 + "kxvqzj") == "short", "eleven characters once they are composed"
    assert problem("kxvqz" * 204 + "kxvq") is None
    assert problem("kxvqz" * 205) == "long"
    assert problem("كلمةسرطويلةجدا") is None


def test_few_different_characters_are_refused() -> None:
    assert problem("abcdabcdabcd") == "common"
    assert problem("abcdeabcdeab") is None
    assert problem("000000000000") == problem("111111111111") == "common"
    assert problem("administrator1") == "common"


@pytest.mark.parametrize(
    ("password", "own", "wanted"),
    [
        ("samira.benali1", ("samira.benali@org.example",), "own"), ("SAMIRA.benali99", ("samira.benali@org.example",), "own"), ("xxsamira.benali", ("samira.benali@org.example",), "own"),
        ("samira kxvqzjwpmtrb", ("samira@org.example",), None), ("sonatrach1234", ("Sonatrach",), "own"), ("abcd kxvqzjwpm", ("abcd",), None), ("amel2026!!!!", ("amel",), None),
        ("samirakxvqzj", ("samira",), None), ("samirakxvqz1", ("samirak",), "own"), ("kxvqzjwpmtrb", (), None), ("samir1234567", ("samir",), "own"),
    ],
)  # fmt: skip
def test_ones_own_words_are_refused_when_they_are_the_larger_part(
    password: str, own: tuple[str, ...], wanted: str | None
) -> None:
    assert problem(password, own) == wanted
