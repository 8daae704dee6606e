"""The independent verifier of proof files: it accepts what holds, and refuses every other text with a reason and with no other error."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from armonika.trust import crypto
from armonika.trust.audit import cosign, note, tree, verify_proof
from armonika.trust.audit.verify_proof import NoWitness, ProofRefused
from tests.trust.memory_log import AT, ED, LOG, ML, ORIGIN, VKEY, WITNESS, WITNESSES, MemoryLog

SMALL = MemoryLog(7)
verify = verify_proof.verify_proof


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8])
def test_every_entry_of_small_logs_is_proven_and_at_its_place_alone(size: int) -> None:
    log = MemoryLog(size)
    for index in range(size):
        text = log.proof(index)
        found = verify(text, VKEY, WITNESSES)
        assert (found.origin, found.index, found.size, found.entry) == (ORIGIN, index, size, {"v": 1, "audit_id": index})
        assert found.cosigned == [(WITNESS, AT), (WITNESS, AT)]
        for other in [*range(size + 1), 10**6]:
            if other != index:
                with pytest.raises(ProofRefused):
                    verify(text.replace(f"index {index}\n", f"index {other}\n"), VKEY)
        path = text.split("\n\n")[0].split("\n")[3:]
        for at in range(len(path)):
            with pytest.raises(ProofRefused):
                verify(text.replace(path[at] + "\n", "", 1), VKEY)
            with pytest.raises(ProofRefused):
                verify(text.replace(path[at] + "\n", f"{path[at]}\n{path[at]}\n", 1), VKEY)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2", "no proof file"), ("extra ", "extra", "no proof file"), ("\nindex ", "\nindeks ", "no proof file"), ("index 3", "index 03", "canonical"),
        ("index 3", "index +3", "canonical"), ("index 3", "index \u0663", "canonical"), ("index 3", "index ", "canonical"), ("\n7\n", "\n07\n", "canonical"), ("\n7\n", "\n8\n", "not of its key"),
        (ORIGIN + "\n7", "log.example/b\n7", "another log"), ("\n", "\r\n", "damaged"), ("extra e", "extra *", "damaged"), ("extra e", "extra *e", "damaged"), (f"\u2014 {ORIGIN} ", f"\u2014 {ORIGIN}  ", "damaged"),
        (f"\u2014 {ORIGIN} ", f"- {ORIGIN} ", "cannot be read"), (f"\u2014 {WITNESS} ", "\u2014 other.example/w ", "has not cosigned"),
    ],
)  # fmt: skip
def test_each_damage_has_its_reason(before: str, after: str, why: str) -> None:
    text = SMALL.proof(3)
    assert before in text
    with pytest.raises(ProofRefused, match=why):
        verify(text.replace(before, after), VKEY, WITNESSES)


def test_a_checkpoint_must_be_whole() -> None:
    text = SMALL.proof(3)
    head, body, signatures = text.split("\n\n")
    for damaged in (
        f"{head}\n\n{body}",
        head,
        f"{head}\n\n{ORIGIN}\n7\n\n{signatures}",
        f"{head}\n\n{ORIGIN}\n\n{signatures}",
        "",
    ):
        with pytest.raises(ProofRefused):
            verify(damaged, VKEY)
    long = body.split("\n")[2]
    short = base64.b64encode(base64.b64decode(long)[:31]).decode()
    with pytest.raises(ProofRefused, match="hash is damaged"):
        verify(text.replace(long, short), VKEY)
    loose = long[:-2] + chr(ord(long[-2]) + 1) + "="
    assert base64.b64decode(loose) == base64.b64decode(long), "positive control: the same hash, otherwise written"
    with pytest.raises(ProofRefused, match="hash is damaged"):
        verify(text.replace(long, loose), VKEY)


def test_keys_must_be_whole_and_of_their_kind() -> None:
    text = SMALL.proof(3)
    name, identity, encoded = VKEY.split("+", 2)
    wrong_id = f"{name}+{'0' * 8}+{encoded}"
    for key in ("", "x", f"{name}+{identity}", wrong_id, WITNESSES[0]):
        with pytest.raises(ProofRefused):
            verify(text, key)
    for witness in (VKEY, f"{WITNESS}+{'0' * 8}+{WITNESSES[0].split('+', 2)[2]}"):
        with pytest.raises(ProofRefused, match="damaged, or of another kind"):
            verify(text, VKEY, [witness])
    other = cosign.vkey(WITNESS, cosign.ED25519, crypto.ed25519_generate()[1])
    with pytest.raises(ProofRefused, match="has not cosigned"):
        verify(text, VKEY, [other])
    assert verify(text, VKEY + "\n", [WITNESSES[1]]).cosigned == [(WITNESS, AT)]


def test_signatures_must_be_of_their_key() -> None:
    text = SMALL.proof(3)
    lines = text.rstrip("\n").split("\n")
    for at, keys in ((-3, []), (-2, WITNESSES[:1]), (-1, WITNESSES[1:])):
        raw = bytearray(base64.b64decode(lines[at].split(" ")[2]))
        raw[-1] ^= 1
        damaged = text.replace(lines[at].split(" ")[2], base64.b64encode(raw).decode())
        with pytest.raises(ProofRefused, match="not of its key"):
            verify(damaged, VKEY, keys)
        raw[-1] ^= 1
        raw[4] ^= 1
        with pytest.raises(ProofRefused):
            verify(text.replace(lines[at].split(" ")[2], base64.b64encode(raw).decode()), VKEY, keys)


def test_what_is_proven_must_be_an_entry() -> None:
    for content in (b"[1]", b"7", b"{", b"\xff"):
        leaf = tree.leaf_hash(content)
        checkpoint = note.sign(note.checkpoint(ORIGIN, 1, leaf), ORIGIN, LOG).decode()
        text = f"c2sp.org/tlog-proof@v1\nextra {base64.b64encode(content).decode()}\nindex 0\n\n{checkpoint}"
        with pytest.raises(ProofRefused):
            verify(text, VKEY)
    content = b'{"v":1}'
    checkpoint = note.sign(note.checkpoint(ORIGIN, 1, tree.leaf_hash(content)), ORIGIN, LOG).decode()
    text = f"c2sp.org/tlog-proof@v1\nextra {base64.b64encode(content).decode()}\nindex 0\n\n{checkpoint}"
    assert verify(text, VKEY).entry == {"v": 1}


@pytest.mark.parametrize("at", [0, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("which", [0, 1])
def test_a_time_that_no_cosignature_can_have_is_refused_although_it_is_signed(at: int, which: int) -> None:
    """c2sp.org/tlog-cosignature: at most 2^63 - 1; c2sp.org/tlog-witness: not zero."""
    text = note.checkpoint(ORIGIN, 1, tree.leaf_hash(b"{}"))
    signed = note.sign(text, ORIGIN, LOG) + cosign.lines(WITNESS, ED, ML, text.encode(), ORIGIN, 1, tree.leaf_hash(b"{}"), at)
    with pytest.raises(ProofRefused, match="time of the witness"):
        verify(f"c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n\n{signed.decode()}", VKEY, WITNESSES[which : which + 1])


@pytest.mark.parametrize("size", [1 << 63, 10**19, (1 << 64) - 1, 10**20, 10**30])
def test_a_tree_that_no_log_can_have_is_refused_although_it_is_signed(size: int) -> None:
    text = note.checkpoint(ORIGIN, size, tree.leaf_hash(b"{}"))
    with pytest.raises(ProofRefused, match="canonical"):
        verify(f"c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n\n{note.sign(text, ORIGIN, LOG).decode()}", VKEY, WITNESSES)


@pytest.mark.parametrize(
    "change", [("\n", "\r\n"), ("index 3", "index 3\t"), ("\nindex", "\x00\nindex"), ("\n\u2014 w", "\n\n\u2014 w")]
)
def test_letters_that_no_proof_has_are_refused(change: tuple[str, str]) -> None:
    text = SMALL.proof(3)
    assert change[0] in text
    with pytest.raises(ProofRefused):
        verify(text.replace(*change), VKEY)
    with pytest.raises(ProofRefused, match="cut off"):
        verify(text.rstrip("\n"), VKEY)


def test_a_file_of_witness_keys_holds_keys_and_nothing_else(tmp_path: Path) -> None:
    """An empty one would have demanded no signature at all, and said that everything was proven."""
    path = tmp_path / "witness.vkey"
    assert verify_proof.witness_keys(None) == []
    path.write_text("\n".join(WITNESSES) + "\n\n")
    assert verify_proof.witness_keys(path) == WITNESSES
    for text in ("", "\n \n", "key", VKEY, WITNESSES[0] + "\n" + WITNESSES[1][:-1], WITNESSES[0].replace("+", "+0")):
        path.write_text(text)
        with pytest.raises(NoWitness, match=r"witness\.vkey holds"):
            verify_proof.witness_keys(path)
    with pytest.raises(OSError, match="regular"):
        verify_proof.witness_keys(tmp_path)


def test_size_is_bounded() -> None:
    assert verify_proof.MAX_CHARACTERS == 200_000
    text = SMALL.proof(3)
    room = 200_000 - len(text) - len("\u2014  \n")
    exact = text + "\u2014 " + "f" * (room % 4 + 4) + " " + "A" * (room // 4 * 4 - 4) + "\n"
    assert len(exact) == 200_000
    assert verify(exact, VKEY).index == 3
    with pytest.raises(ProofRefused, match="damaged"):
        verify(exact + "\n", VKEY)


def test_base64_holds_nothing_but_base64() -> None:
    text = SMALL.proof(3)
    signature = text.rstrip("\n").split("\n")[-3].split(" ")[2]
    with pytest.raises(ProofRefused, match="damaged"):
        verify(text.replace(signature, "*" + signature), VKEY)
    name, identity, encoded = VKEY.split("+", 2)
    with pytest.raises(ProofRefused):
        verify(text, f"{name}+{identity}+*{encoded}")


def test_a_checkpoint_that_is_cut_off_is_told_as_such() -> None:
    head, body, _ = SMALL.proof(3).split("\n\n")
    for damaged in (f"{head}\n\n{body}\n", f"{head}\n\n{ORIGIN}\n7\n\nx"):
        with pytest.raises(ProofRefused, match="cut off"):
            verify(damaged, VKEY)
