"""The importer of cryptographic primitives (`certificates.py` beside it: X.509). Small on purpose: read it whole.

Every output that is stored begins with a version byte, so that an algorithm can change. A failed check raises; nothing returns False.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidSignature as _InvalidSignature
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
ARGON2_PARAMETERS = "argon2id$m=19456,t=2,p=1"
"""OWASP's minimum for Argon2id (RFC 9106): 19 MiB, 2 passes, 1 lane."""

_VERSION = b"\x01"
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Unauthentic(Exception):
    """A ciphertext, wrapped key or signature does not belong to the key and place it was offered for."""


def random_bytes(count: int) -> bytes:
    """`count` bytes from the operating system's generator."""
    return os.urandom(count)


def sha256(data: bytes) -> bytes:
    """SHA-256 (FIPS 180-4), 32 bytes."""
    return hashlib.sha256(data).digest()


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104), 32 bytes. Used for blind indexes, peppering and derived keys; callers separate domains in `message`."""
    return hmac.digest(key, message, "sha256")


def hmac_sha1(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-1 (RFC 2104), 20 bytes. Only for one-time codes (RFC 4226, RFC 6238), where authenticator programs expect it; collisions of SHA-1 do
    not weaken HMAC."""
    return hmac.digest(key, message, "sha1")


def constant_time_equal(left: bytes, right: bytes) -> bool:
    """Comparison whose time does not depend on where the values differ."""
    return hmac.compare_digest(left, right)


@lru_cache(maxsize=64)
def _long_lived(key: bytes) -> AESGCM:
    return AESGCM(key)


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """AES-256-GCM (NIST SP 800-38D) under a random 96-bit nonce: `0x01 ‖ nonce(12) ‖ ciphertext ‖ tag(16)`.

    Random nonces allow 2^32 messages under one key; a data key serves one record, a key-encryption key is rotated long before.
    """
    nonce = os.urandom(NONCE_BYTES)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plaintext, _VERSION + aad)


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Opens what `seal` made, or raises `Unauthentic`."""
    return _open(AESGCM(key), sealed, aad)


def wrap(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """As `seal`, for the few long-lived key-encryption keys, whose schedules are kept."""
    nonce = os.urandom(NONCE_BYTES)
    return _VERSION + nonce + _long_lived(key).encrypt(nonce, plaintext, _VERSION + aad)


def unwrap(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """As `unseal`, for the few long-lived key-encryption keys, whose schedules are kept."""
    return _open(_long_lived(key), sealed, aad)


def _open(cipher: AESGCM, sealed: bytes, aad: bytes) -> bytes:
    if sealed[:1] != _VERSION:
        raise Unauthentic("unknown ciphertext format")
    try:
        return cipher.decrypt(sealed[1:13], sealed[13:], _VERSION + aad)
    except (InvalidTag, ValueError):
        raise Unauthentic("ciphertext does not belong to this key and place") from None


def unseal_all(key: bytes, sealed: Sequence[bytes], aad: bytes, places: Sequence[bytes]) -> list[bytes]:
    """As `unseal`, for several values under one key: each is bound to `aad ‖ its place`. Raises `Unauthentic` when one of them does not open."""
    decrypt, bound = AESGCM(key).decrypt, _VERSION + aad
    try:
        opened = [
            decrypt(one[1:13], one[13:], bound + place) for one, place in zip(sealed, places, strict=True) if one[:1] == _VERSION
        ]
    except (InvalidTag, ValueError):
        raise Unauthentic("ciphertext does not belong to this key and place") from None
    if len(opened) != len(sealed):
        raise Unauthentic("unknown ciphertext format")
    return opened


def hpke_generate() -> tuple[bytes, bytes]:
    """A key pair of the hybrid ML-KEM-768 + X25519 suite (RFC 9180, X-Wing combination): private 96 bytes, public 1,216 bytes."""
    lattice, curve = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    private = lattice.private_bytes_raw() + curve.private_bytes_raw()
    return private, lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def hpke_from_secret(secret: bytes) -> tuple[bytes, bytes]:
    """The key pair that 32 secret bytes stand for, the same each time (HMAC-SHA-256 as the expansion, RFC 5869 §2.3 without salt)."""
    parts = [hmac_sha256(secret, b"armonika/recovery/1\0" + bytes((number,))) for number in range(3)]
    lattice, curve = MLKEM768PrivateKey.from_seed_bytes(parts[0] + parts[1]), X25519PrivateKey.from_private_bytes(parts[2])
    return b"".join(parts), lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


@lru_cache(maxsize=64)
def _hpke_public(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    return hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:1184]), X25519PublicKey.from_public_bytes(public[1184:])
    )


@lru_cache(maxsize=64)
def _hpke_private(private: bytes) -> hpke.MLKEM768X25519PrivateKey:
    return hpke.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(private[:64]), X25519PrivateKey.from_private_bytes(private[64:])
    )


def hpke_seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seals to a public key (RFC 9180 base mode); the sealer cannot open what it sealed. `info` binds the place."""
    return _VERSION + _SUITE.encrypt(plaintext, _hpke_public(public), info)


def hpke_open(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """Opens what `hpke_seal` made, or raises `Unauthentic`."""
    if sealed[:1] != _VERSION:
        raise Unauthentic("unknown sealed-key format")
    try:
        return _SUITE.decrypt(sealed[1:], _hpke_private(private), info)
    except (InvalidTag, ValueError):
        raise Unauthentic("sealed key does not belong to this key and place") from None


def argon2id(password: bytes, salt: bytes) -> bytes:
    """Argon2id (RFC 9106) with `ARGON2_PARAMETERS`: 32 bytes, about 25 ms and 19 MiB."""
    return Argon2id(salt=salt, length=32, iterations=2, lanes=1, memory_cost=19456).derive(password)


def ed25519_generate() -> tuple[bytes, bytes]:
    """An Ed25519 key pair (RFC 8032): private seed 32 bytes, public key 32 bytes."""
    private = Ed25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def ed25519_public(private: bytes) -> bytes:
    """The public key of a private seed."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def ed25519_sign(private: bytes, message: bytes) -> bytes:
    """Signature of 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(message)


def ed25519_verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Raises `InvalidSignature` unless the signature is of this message and key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (_InvalidSignature, ValueError):
        raise InvalidSignature("signature does not belong to this message and key") from None


class InvalidSignature(Unauthentic):
    """A signature failed."""


def mldsa44_generate() -> tuple[bytes, bytes]:
    """An ML-DSA-44 key pair (FIPS 204): private seed 32 bytes, public key 1,312 bytes."""
    private = MLDSA44PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def mldsa44_public(seed: bytes) -> bytes:
    """The public key of a private seed."""
    return MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def mldsa44_sign(seed: bytes, message: bytes) -> bytes:
    """Signature of 2,420 bytes, without a context."""
    return MLDSA44PrivateKey.from_seed_bytes(seed).sign(message)


def mldsa44_verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Raises `InvalidSignature` unless the signature is of this message and key."""
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (_InvalidSignature, ValueError):
        raise InvalidSignature("signature does not belong to this message and key") from None
