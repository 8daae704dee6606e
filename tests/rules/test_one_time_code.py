"""One-time codes: the vectors of RFC 4226 and RFC 6238, windows, and what people type."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from armonika.rules import one_time_code as rules
from armonika.trust import crypto
from armonika.trust.vault.second_factor import matching_step

KEY = b"12345678901234567890"
HOTP = ("755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489")


@pytest.mark.parametrize(("count", "code"), list(enumerate(HOTP)))
def test_the_vectors_of_rfc_4226_appendix_d(count: int, code: str) -> None:
    assert rules.code(crypto.hmac_sha1(KEY, rules.counter(count))) == code


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "94287082"), (1111111109, "07081804"), (1111111111, "14050471"), (1234567890, "89005924"), (2000000000, "69279037"), (20000000000, "65353130")],
)  # fmt: skip
def test_the_vectors_of_rfc_6238_appendix_b(seconds: int, code: str) -> None:
    assert rules.code(crypto.hmac_sha1(KEY, rules.counter(rules.step_of(seconds))), 8) == code


def test_hmac_sha1_is_that_of_rfc_2202() -> None:
    assert crypto.hmac_sha1(b"\x0b" * 20, b"Hi There").hex() == "b617318655057264e28bc0b6fb378c8ef146be00"
    assert (
        crypto.hmac_sha1(b"Jefe", b"what do ya want for nothing?")
        == hmac.new(b"Jefe", b"what do ya want for nothing?", hashlib.sha1).digest()
    )


def test_a_code_counts_in_its_half_minute_and_the_two_beside_it() -> None:
    at = {step: rules.code(crypto.hmac_sha1(KEY, rules.counter(step))) for step in range(97, 104)}
    assert [matching_step(KEY, 100, at[step]) for step in range(97, 104)] == [None, None, 99, 100, 101, None, None]
    assert matching_step(KEY, 100, "") is None
    assert set(rules.steps_around(100)) == {99, 100, 101}
    assert rules.steps_around(100)[0] == 100


def test_of_two_steps_with_the_same_code_the_later_counts() -> None:
    key, step = bytes.fromhex("0006739a"), 50
    assert rules.code(crypto.hmac_sha1(key, rules.counter(49))) == rules.code(crypto.hmac_sha1(key, rules.counter(51)))
    assert matching_step(key, step, rules.code(crypto.hmac_sha1(key, rules.counter(49)))) == 51


def test_half_minutes_begin_at_full_and_half_minutes() -> None:
    assert [rules.step_of(seconds) for seconds in (0, 29.999, 30, 59, 60)] == [0, 0, 1, 1, 2]
    assert rules.code(b"\0" * 20) == "000000"


@pytest.mark.parametrize("typed", ["123456", " 123 456 ", "123-456", "١٢٣٤٥٦", "۱۲۳ ۴۵۶", "\u200f123456", "１２３４５６"])
def test_six_digits_of_any_script_are_a_code(typed: str) -> None:
    assert rules.typed_code(typed) == "123456"


@pytest.mark.parametrize(
    "typed", ["", "12345", "1234567", "12345a", "½23456", "²23456", "12345\x00", "１２３４５", "123456789012345", "!123456"]
)
def test_everything_else_is_none(typed: str) -> None:
    assert rules.typed_code(typed) is None


def test_recovery_codes_have_80_bits_and_forgive_typing() -> None:
    code = rules.recovery_from(bytes(range(16)))
    assert code == "ABCDEFGHIJKLMNOP"
    assert len(rules.ALPHABET) ** rules.RECOVERY_CHARACTERS == 2**80
    assert rules.grouped(code) == "ABCD EFGH IJKL MNOP"
    for typed in ("abcd efgh ijkl mnop", "ABCD-EFGH-1JKL-MN0P", " a8cd efgh ijkl mnop "):
        assert rules.typed_recovery(typed) == code
    assert (rules.KEY_BYTES, rules.RECOVERY_CODES) == (20, 10)
    for typed in ("", code[:-1], code + "A", code + "!", "ABCDEFGHIJKLMN9P", "ابجدهوزحطيكلمنسع"):
        assert rules.typed_recovery(typed) is None
    assert len({rules.recovery_from(crypto.random_bytes(16)) for _ in range(1000)}) == 1000
