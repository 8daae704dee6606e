"""The primitives: formats, vectors of their standards, and that nothing opens which was altered or offered at another place."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from armonika.trust import crypto
from armonika.trust.crypto import Unauthentic

KEY, AAD = bytes(range(32)), b"place"


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(("close", "open_"), [(crypto.seal, crypto.unseal), (crypto.wrap, crypto.unwrap), (crypto.seal, crypto.unwrap), (crypto.wrap, crypto.unseal)])  # fmt: skip
def test_sealed_bytes_open_at_their_place_alone(close: object, open_: object) -> None:
    sealed = close(KEY, b"value", AAD)  # type: ignore[operator]
    assert len(sealed) == 1 + 12 + 5 + 16
    assert sealed[:1] == b"\x01"
    assert close(KEY, b"value", AAD)[1:13] != sealed[1:13], "a nonce is never used again"  # type: ignore[operator]
    assert open_(KEY, sealed, AAD) == b"value"  # type: ignore[operator]
    assert open_(KEY, close(KEY, b"", AAD), AAD) == b""  # type: ignore[operator]
    wrong = [(KEY, flipped(sealed, at), AAD) for at in range(len(sealed))] + [(KEY, sealed[:-1], AAD), *((KEY, sealed[:cut], AAD) for cut in range(len(sealed))), (KEY, sealed, b"other"), (bytes(32), sealed, AAD)]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(Unauthentic):
            open_(*arguments)  # type: ignore[operator]


def test_the_ciphertext_is_aes_gcm_with_the_version_in_its_place() -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = crypto.seal(KEY, b"value", AAD)
    assert AESGCM(KEY).decrypt(sealed[1:13], sealed[13:], b"\x01" + AAD) == b"value"


def test_several_values_open_together_or_not_at_all() -> None:
    sealed = [crypto.seal(KEY, b"value %d" % number, AAD + b"%d" % number) for number in range(3)]
    places = [b"0", b"1", b"2"]
    assert crypto.unseal_all(KEY, sealed, AAD, places) == [b"value 0", b"value 1", b"value 2"]
    assert crypto.unseal_all(KEY, [], AAD, []) == []
    wrong = [
        (bytes(32), sealed, AAD, places), (KEY, sealed, b"other", places), (KEY, sealed, AAD, [b"0", b"2", b"1"]), (KEY, sealed, AAD, places[:2]),
        (KEY, [*sealed[:2], b""], AAD, places), (KEY, [*sealed[:2], b"\x01"], AAD, places),
        *((KEY, [*sealed[:2], flipped(sealed[2], at)], AAD, places) for at in range(len(sealed[2]))),
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(Unauthentic):
            crypto.unseal_all(*arguments)


def test_hashes() -> None:
    assert crypto.sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert crypto.hmac_sha256(b"k", b"m") == hmac.new(b"k", b"m", hashlib.sha256).digest()
    assert crypto.constant_time_equal(b"a", b"a") is True
    assert crypto.constant_time_equal(b"a", b"b") is False
    assert len(crypto.random_bytes(40)) == 40
    assert crypto.random_bytes(16) != crypto.random_bytes(16)
    assert (crypto.KEY_BYTES, crypto.NONCE_BYTES, crypto.SALT_BYTES) == (32, 12, 16)


def test_argon2id_has_the_parameters_that_it_names() -> None:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    assert crypto.ARGON2_PARAMETERS == "argon2id$m=19456,t=2,p=1"
    made = crypto.argon2id(b"password", b"s" * 16)
    assert made == Argon2id(salt=b"s" * 16, length=32, iterations=2, lanes=1, memory_cost=19456).derive(b"password")
    assert len(made) == 32


def test_hpke_opens_with_the_private_key_at_its_place_alone() -> None:
    private, public = crypto.hpke_generate()
    assert (len(private), len(public)) == (96, 1216)
    sealed = crypto.hpke_seal(public, b"key", b"info")
    assert sealed[:1] == b"\x01"
    assert crypto.hpke_open(private, sealed, b"info") == b"key"
    other, _ = crypto.hpke_generate()
    for arguments in ((other, sealed, b"info"), (private, sealed, b"else"), (private, flipped(sealed, 0), b"info"), (private, flipped(sealed, 5), b"info"),
                      (private, flipped(sealed, len(sealed) - 1), b"info"), (private, sealed[:20], b"info"), (private, b"", b"info")):  # fmt: skip
        with pytest.raises(Unauthentic):
            crypto.hpke_open(*arguments)


def test_a_secret_stands_for_one_key_pair_for_ever() -> None:
    """Recovery keys and backups depend on it: the derivation may never change."""
    private, public = crypto.hpke_from_secret(KEY)
    parts = [hmac.new(KEY, b"armonika/recovery/1\0" + bytes([n]), hashlib.sha256).digest() for n in (0, 1, 2)]
    assert private == b"".join(parts)
    assert crypto.sha256(public).hex()[:16] == crypto.sha256(crypto.hpke_from_secret(KEY)[1]).hex()[:16]
    assert crypto.hpke_open(private, crypto.hpke_seal(public, b"x", b""), b"") == b"x"
    assert crypto.hpke_from_secret(bytes(32))[1] != public


def test_ed25519_is_that_of_rfc_8032() -> None:
    """§7.1, test 2."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert crypto.ed25519_public(seed) == public
    assert crypto.ed25519_sign(seed, b"\x72") == signature
    crypto.ed25519_verify(public, signature, b"\x72")
    for arguments in ((public, signature, b"\x73"), (public, flipped(signature, 3), b"\x72"), (flipped(public, 0), signature, b"\x72"), (public, b"", b"\x72"), (b"", signature, b"\x72")):  # fmt: skip
        with pytest.raises(crypto.InvalidSignature):
            crypto.ed25519_verify(*arguments)
    private, made = crypto.ed25519_generate()
    assert crypto.ed25519_public(private) == made


def test_mldsa44_signs_and_refuses() -> None:
    seed, public = crypto.mldsa44_generate()
    assert (len(seed), len(public)) == (32, 1312)
    assert crypto.mldsa44_public(seed) == public
    signature = crypto.mldsa44_sign(seed, b"m")
    assert len(signature) == 2420
    crypto.mldsa44_verify(public, signature, b"m")
    for arguments in (
        (public, signature, b"n"),
        (public, flipped(signature, 9), b"m"),
        (public, b"", b"m"),
        (b"", signature, b"m"),
    ):
        with pytest.raises(crypto.InvalidSignature):
            crypto.mldsa44_verify(*arguments)
