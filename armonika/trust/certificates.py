"""X.509 (RFC 5280) for our own processes: the installation's authority and the short-lived certificates that it issues. Beside `crypto.py` the only
importer of primitives.

The authority is 32 secret bytes of the keyring. Key and name follow from them, so that a certificate of it can be written again at any time and
vouches for all that it issued. Keys are ECDSA P-256, signatures SHA-256: what PostgreSQL, etcd, OpenSSL and browsers all read.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

MOST_DAYS = 90
"""The longest life of a certificate (claim 7a.6)."""
_AUTHORITY_DAYS = 3650
_SKEW = timedelta(hours=1)
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True, repr=False)
class Authority:
    """The certificate authority of one installation. It has no `repr`, so that a traceback shows no secret."""

    secret: bytes

    @property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        """FIPS 186-5 A.2.1: 512 bits, reduced, are uniform to far more than the curve's strength."""
        wide = int.from_bytes(hashlib.sha512(b"armonika/authority/1\0" + self.secret).digest(), "big")
        return ec.derive_private_key(wide % (_ORDER - 1) + 1, ec.SECP256R1())

    @property
    def _name(self) -> x509.Name:
        point = self._key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
        return _named(f"Armonika authority {hashlib.sha256(point).hexdigest()[:16]}")

    def certificate(self) -> bytes:
        """What others verify with (PEM); it can issue certificates of processes and no authority."""
        key, now = self._key, datetime.now(UTC)
        usage = {"key_cert_sign", "crl_sign"}
        return (
            _begun(self._name, self._name, key.public_key(), now - timedelta(days=1), now + timedelta(days=_AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(True, 0), True).add_extension(_usage(usage), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False).sign(key, hashes.SHA256()).public_bytes(_PEM)
        )  # fmt: skip

    def issue(self, name: str, role: str, days: float, *, server: bool = False, client: bool = False, also: Sequence[str] = ()) -> bytes:  # fmt: skip
        """A new key and its certificate (PEM, both in one file) for the process `name`, and for the names and addresses in `also`.

        `role` is the common name: a PostgreSQL server compares it with the role that signs in (`clientcert=verify-full`). Negative `days`: one that
        has ended. Raises ValueError for more than MOST_DAYS.
        """
        if days > MOST_DAYS:
            raise ValueError(f"a certificate lives at most {MOST_DAYS} days")
        key, issuer, now = ec.generate_private_key(ec.SECP256R1()), self._key, datetime.now(UTC)
        uses = [
            use
            for wanted, use in ((server, ExtendedKeyUsageOID.SERVER_AUTH), (client, ExtendedKeyUsageOID.CLIENT_AUTH))
            if wanted
        ]
        end = now + timedelta(days=days)
        made = (
            _begun(_named(role), self._name, key.public_key(), min(now, end) - _SKEW, end).add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(_usage({"digital_signature"}), True).add_extension(x509.ExtendedKeyUsage(uses), False)
            .add_extension(x509.SubjectAlternativeName([_general(one) for one in (name, *also)]), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False).sign(issuer, hashes.SHA256())
        )  # fmt: skip
        return made.public_bytes(_PEM) + _private(key)


def self_signed_certificate(host: str, days: int) -> bytes:
    """A certificate for `host` that only itself vouches for, with its key (PEM); negative `days`: one that has ended. For trials and attacks."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = _named(host)
    made = (
        _begun(name, name, key.public_key(), now - timedelta(days=400), now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general(host)]), False).sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(_PEM) + _private(key)


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public).serial_number(x509.random_serial_number())
        .not_valid_before(begin).not_valid_after(end)
    )  # fmt: skip


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(wanted: set[str]) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: name in wanted for name in names})


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
