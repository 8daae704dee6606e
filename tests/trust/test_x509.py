"""The authority of our own processes: the same key and name each time, certificates of one name, one use and at most 90 days."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from armonika.trust.certificates import MOST_DAYS, Authority, self_signed_certificate

FIRST, OTHER = Authority(b"\1" * 32), Authority(b"\2" * 32)


def read(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def names(certificate: x509.Certificate) -> list[str]:
    return [str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def test_an_authority_is_its_secret() -> None:
    one, again, other = read(FIRST.certificate()), read(Authority(b"\1" * 32).certificate()), read(OTHER.certificate())
    assert one.public_key() == again.public_key() != other.public_key()
    assert one.subject == again.subject != other.subject
    one.verify_directly_issued_by(again)
    with pytest.raises(ValueError, match="subject"):
        one.verify_directly_issued_by(other)
    basic = one.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert one.extensions.get_extension_for_class(x509.KeyUsage).critical
    usage = one.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature, usage.key_agreement) == (True, True, False, False)
    # RFC 5280, 4.2.1.2: whoever does not know the identifier of a key may pass over it.
    assert not one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).critical
    assert "\\x01" not in repr(FIRST)
    now = datetime.now(UTC)
    assert abs(now - one.not_valid_before_utc - timedelta(days=1)) < timedelta(minutes=1), "by a clock that is late, too"
    assert abs(one.not_valid_after_utc - now - timedelta(days=3650)) < timedelta(minutes=1)


def test_the_key_is_pinned() -> None:
    """A change of the derivation would make every certificate that is in use foreign."""
    public = read(FIRST.certificate()).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert f"{public.public_numbers().x:064x}" == "8549087803cbb16ddcccf5cf5d085abcff2abaadc58a2881297df2adc84ebc58"
    assert read(FIRST.certificate()).subject.rfc4514_string() == "CN=Armonika authority 89a7ba78086700be"


@pytest.mark.parametrize(("server", "client"), [(True, False), (False, True), (True, True)])
def test_a_certificate_is_of_one_name_one_use_and_one_time(server: bool, client: bool) -> None:
    made = read(FIRST.issue("sealer", "armonika_sealer", 30, server=server, client=client, also=("localhost", "127.0.0.1")))
    made.verify_directly_issued_by(read(FIRST.certificate()))
    assert names(made) == ["sealer", "localhost", "127.0.0.1"]
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "armonika_sealer"
    uses = set(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert (ExtendedKeyUsageOID.SERVER_AUTH in uses, ExtendedKeyUsageOID.CLIENT_AUTH in uses) == (server, client)
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert not basic.value.ca
    # RFC 5280, 4.2.1.1, 4.2.1.3 and 4.2.1.6.
    kinds = (x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.AuthorityKeyIdentifier)
    assert [made.extensions.get_extension_for_class(kind).critical for kind in kinds] == [True, False, False, False]
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign, usage.crl_sign, usage.key_encipherment) == (True, False, False, False)
    now = datetime.now(UTC)
    assert abs(made.not_valid_after_utc - now - timedelta(days=30)) < timedelta(minutes=1)
    assert timedelta(minutes=59) < now - made.not_valid_before_utc < timedelta(minutes=61)
    assert read(FIRST.issue("sealer", "armonika_sealer", 30, client=True)).public_key() != made.public_key()


def test_none_lives_longer_than_the_policy_says_and_one_that_has_ended_can_be_made() -> None:
    assert read(FIRST.issue("a", "a", MOST_DAYS, client=True)).not_valid_after_utc > datetime.now(UTC) + timedelta(days=89)
    with pytest.raises(ValueError, match="90 days"):
        FIRST.issue("a", "a", MOST_DAYS + 0.1, client=True)
    ended = read(FIRST.issue("a", "a", -1, client=True))
    assert ended.not_valid_before_utc < ended.not_valid_after_utc < datetime.now(UTC)


def test_openssl_reads_certificate_and_key_from_one_file(tmp_path: Path) -> None:
    file = tmp_path / "internal.pem"
    file.write_bytes(FIRST.issue("witness", "armonika_witness", 1, server=True))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


@pytest.mark.parametrize(("days", "ended"), [(3, False), (-1, True)])
def test_a_trial_certificate_is_of_its_host_and_time(days: int, ended: bool, tmp_path: Path) -> None:
    made = self_signed_certificate("host.example", days)
    certificate = read(made)
    now = datetime.now(UTC)
    assert (certificate.not_valid_after_utc < now) is ended
    assert abs(certificate.not_valid_after_utc - now - timedelta(days=days)) < timedelta(minutes=1)
    assert abs(now - certificate.not_valid_before_utc - timedelta(days=400)) < timedelta(minutes=1)
    assert names(certificate) == ["host.example"]
    assert not certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    (tmp_path / "trial.pem").write_bytes(made)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "trial.pem")


def test_a_certificate_has_the_uses_it_was_asked_for_alone() -> None:
    for asked, uses in (
        ({"client": True}, [ExtendedKeyUsageOID.CLIENT_AUTH]),
        ({"server": True}, [ExtendedKeyUsageOID.SERVER_AUTH]),
    ):
        made = read(FIRST.issue("a", "a", 1, **asked))
        assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == uses
