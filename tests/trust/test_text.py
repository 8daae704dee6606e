"""What a value may be, where a server is, and one form of an address: exact limits."""

from __future__ import annotations

import pytest

from armonika.trust.vault.address import canonical_email
from armonika.trust.vault.errors import Invalid
from armonika.trust.vault.server import asyncpg_address
from armonika.trust.vault.text import MAX_BYTES, clean


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("a", "a"), ("e\u0301", "é"), ("a\r\nb\rc\td", "a\nb\nc\td"), ("x" * 65536, "x" * 65536), ("é" * 32768, "é" * 32768), (" a ", " a "), ("a" + "\u0323\u0307" * 8, None),
     ("\u00a0x", "\u00a0x"), ("~", "~"), ("قيمة" * 9, "قيمة" * 9), ("a!", "a!"), ("\u0301" * 16, "\u0301" * 16), ("\u0301" * 17, Invalid), ("a" + "\u0300" * 17 + "b", "à" + "\u0300" * 16 + "b"), ("q" + "\u0301" * 16, "q" + "\u0301" * 16), ("q" + "\u0301" * 17, Invalid),
     ("q" + "\u0301" * 9 + "q" + "\u0301" * 9, "q" + "\u0301" * 9 + "q" + "\u0301" * 9)],
)  # fmt: skip
def test_values(value: str, wanted: object) -> None:
    if wanted is Invalid:
        with pytest.raises(Invalid):
            clean(value)
    elif wanted is None:
        assert clean(value)
    else:
        assert clean(value) == wanted


@pytest.mark.parametrize("value", ["", " ", "\n\t", "x" * 65537, "é" * 32769, "\0", "a\x01", "a\x1f", "a\x7f", "a\x80", "a\x9f", "\ud800", "\u202a", "\u202e", "\u2066", "\u2069"])  # fmt: skip
def test_what_no_value_may_be(value: str) -> None:
    assert MAX_BYTES == 65536
    with pytest.raises(Invalid):
        clean(value)


@pytest.mark.parametrize("value", ["\u200f", "\u200e", "\u00a0a", "\ue000", "\ufffd", "\u2065"])
def test_what_looks_alike_and_may_be(value: str) -> None:
    assert clean("x" + value) == "x" + value


@pytest.mark.parametrize(
    ("dsn", "wanted"),
    [("host=/tmp/a port=5432 dbname=armonika user=x password=y", "postgresql://?host=%2Ftmp%2Fa&port=5432&dbname=armonika"),
     ("host=a,b port=1,2 dbname=d target_session_attrs=read-write sslmode=verify-full sslrootcert=/c", "postgresql://?host=a%2Cb&port=1%2C2&dbname=d&sslmode=verify-full&sslrootcert=%2Fc&target_session_attrs=read-write"),
     ("host=a sslcert=c sslkey=k sslcrl=l sslnegotiation=direct connect_timeout=3", "postgresql://?host=a&sslcert=c&sslkey=k&sslcrl=l&sslnegotiation=direct")],
)  # fmt: skip
def test_a_server_is_named_without_user_and_password(dsn: str, wanted: str) -> None:
    assert asyncpg_address(dsn) == wanted


@pytest.mark.parametrize(
    ("address", "wanted"),
    [("A.b+C@Example.ORG.", "a.b+c@example.org"), (" x@y.z ", "x@y.z"), ("x@münchen.de", "x@xn--mnchen-3ya.de"), ("ｘ@y.z", "x@y.z"), ("STRASSE@y.z", "strasse@y.z"), ("x!y@y.z", "x!y@y.z"), ("x@MÜNCHEN.de", "x@xn--mnchen-3ya.de"), ("x@faß.de", "x@xn--fa-hia.de"),
     ("a" * 64 + "@y.z", "a" * 64 + "@y.z"), ("a@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 60, "a@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 60)],
)  # fmt: skip
def test_addresses_have_one_form(address: str, wanted: str) -> None:
    assert canonical_email(address) == wanted


@pytest.mark.parametrize("address", ["", "x", "@y.z", "x@", "x@y@z.a", ".x@y.z", "x.@y.z", "x..x@y.z", "x@y", "x y@y.z", '"x"@y.z', "x(c)@y.z", "x,y@y.z", "x:y@y.z", "x;y@y.z", "x<y@y.z", "x>y@y.z",
                                     "x[y@y.z", "x\\y@y.z", "x]y@y.z", "x\u200by@y.z", "x\u2028y@y.z", "x\u2029y@y.z", "x\ue000@y.z", "x\u0378@y.z", "x\ud800@y.z", "x@y.z!", "x\u0000@y.z", "x@[127.0.0.1]", "x@-y.z", "a" * 65 + "@y.z", "a@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 61])  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(Invalid):
        canonical_email(address)
