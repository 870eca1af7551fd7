"""Who may write which record, and SSH signatures checked without ssh-keygen, held against ssh-keygen."""

from __future__ import annotations

import base64
import hashlib
import itertools
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from records import candidate, seal, yank
from sshkeys import public, ssh_key

from pipeline.adapters.signed_commit import read_commit, with_signature
from pipeline.domain.allowed_signers import AllowedKey, AllowedSigners, parse_allowed_signers
from pipeline.domain.audit import NOTES, What
from pipeline.domain.record import Kind, Record
from pipeline.domain.ssh_signature import BEGIN, END, parse_ssh_signature
from pipeline.domain.validation import validate
from pipeline.domain.writers import DEMANDABLE, Breach, Sifted, WriterRules, WritersTable
from pipeline.errors import DefinitionError, SignatureError
from pipeline.verbs.sifted import SiftedLedger, writer_findings

MESSAGE = b"tree x\n\nmessage\n"
APPLICATION = b"ssh:"
FLAGS = b"\x01\x00\x00\x00\x05"


def text(*parts: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "big") + one for one in parts)


def armoured(blob: bytes) -> str:
    return "\n".join((BEGIN, *textwrap.wrap(base64.b64encode(blob).decode(), 70), END, ""))


def asked(message: bytes = MESSAGE) -> bytes:
    """What a key signs for a message."""
    return b"SSHSIG" + text(b"git", b"", b"sha512", hashlib.sha512(message).digest())


def signature(key: bytes, made: bytes) -> str:
    return armoured(b"SSHSIG" + (1).to_bytes(4, "big") + text(key, b"git", b"", b"sha512", made))


def by_touch(data: bytes) -> bytes:
    """What a security key makes of what it is asked to sign."""
    return hashlib.sha256(APPLICATION).digest() + FLAGS + hashlib.sha256(data).digest()


def sk_ed25519() -> tuple[bytes, str]:
    key, kind = Ed25519PrivateKey.generate(), b"sk-ssh-ed25519@openssh.com"
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = text(kind, raw, APPLICATION)
    return blob, signature(blob, text(kind, key.sign(by_touch(asked()))) + FLAGS)


def sk_ecdsa() -> tuple[bytes, str]:
    key, kind = ec.generate_private_key(ec.SECP256R1()), b"sk-ecdsa-sha2-nistp256@openssh.com"
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    blob = text(kind, b"nistp256", point, APPLICATION)
    numbers = utils.decode_dss_signature(key.sign(by_touch(asked()), ec.ECDSA(SHA256())))
    made = text(*(one.to_bytes(one.bit_length() // 8 + 1, "big") for one in numbers))
    return blob, signature(blob, text(kind, made) + FLAGS)


def says_ssh_keygen(folder: Path, blob: bytes, signed: str, message: bytes = MESSAGE) -> bool:
    kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    (folder / "signers").write_text(f"ann@example.org {kind} {base64.b64encode(blob).decode()}\n")
    (folder / "signature").write_text(signed)
    argv = ["ssh-keygen", "-Y", "verify", "-n", "git", "-I", "ann@example.org", "-f", str(folder / "signers")]
    return not subprocess.run(
        [*argv, "-s", str(folder / "signature")], input=message, check=False, capture_output=True
    ).returncode


@pytest.mark.parametrize("make", [sk_ed25519, sk_ecdsa])
def test_security_keys_are_checked_as_ssh_keygen_does(
    tmp_path: Path, make: Callable[[], tuple[bytes, str]]
) -> None:
    blob, signed = make()
    found = parse_ssh_signature(signed)
    assert (found.fault(MESSAGE), found.namespace, found.public) == ("", "git", blob)
    assert says_ssh_keygen(tmp_path, blob, signed)
    assert found.fault(MESSAGE + b"x") == "it is of something else"
    assert not says_ssh_keygen(tmp_path, blob, signed, MESSAGE + b"x")
    spoiled = base64.b64decode("".join(signed.splitlines()[1:-1]))[:-1] + b"\x06"
    assert parse_ssh_signature(armoured(spoiled)).fault(MESSAGE) == "it is of something else"


KINDS = {
    "ed25519": ("-t", "ed25519"),
    "p256": ("-t", "ecdsa", "-b", "256"),
    "p384": ("-t", "ecdsa", "-b", "384"),
    "p521": ("-t", "ecdsa", "-b", "521"),
    "rsa": ("-t", "rsa", "-b", "2048"),
}


def made_by(folder: Path, kind: str, *options: str) -> str:
    key = ssh_key(folder, kind, *KINDS[kind])
    (folder / "message").write_bytes(MESSAGE)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", *options, "-f", str(key), str(folder / "message")]
    subprocess.run(argv, check=True, capture_output=True)
    return (folder / "message.sig").read_text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
def test_what_ssh_keygen_signs_is_good_here_and_nothing_else_is(
    tmp_path: Path, kind: str, hashed: str
) -> None:
    signed = made_by(tmp_path, kind, "-O", f"hashalg={hashed}")
    found = parse_ssh_signature(signed)
    assert (found.fault(MESSAGE), found.namespace) == ("", "git")
    assert base64.b64encode(found.public).decode() in public(tmp_path / kind)
    assert found.fault(b"") == "it is of something else"
    # Every byte counts: whichever is changed, it is no longer good, and never anything but an answer.
    blob = base64.b64decode("".join(signed.splitlines()[1:-1]))
    for at in range(0, len(blob), 3):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        try:
            other = parse_ssh_signature(armoured(changed))
        except SignatureError:
            continue
        assert other.fault(MESSAGE) or other.namespace != "git" or other.public != found.public


def test_weak_keys_and_old_hashes_are_refused() -> None:
    modulus = (1 << 1023 | 1).to_bytes(129, "big")
    weak = text(b"ssh-rsa", b"\x01\x00\x01", modulus)
    assert "1024 bits" in parse_ssh_signature(signature(weak, text(b"rsa-sha2-512", b"x"))).fault(MESSAGE)
    strong = text(b"ssh-rsa", b"\x01\x00\x01", (1 << 2047 | 1).to_bytes(257, "big"))
    assert "ssh-rsa" in parse_ssh_signature(signature(strong, text(b"ssh-rsa", b"x"))).fault(MESSAGE)
    other = text(b"ssh-dss", b"x", b"y")
    assert "not known" in parse_ssh_signature(signature(other, text(b"ssh-dss", b"x"))).fault(MESSAGE)
    cut = text(b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"\x01" * 64)
    nowhere = parse_ssh_signature(signature(cut, text(b"ecdsa-sha2-nistp256", text(b"\x01", b"\x01"))))
    assert nowhere.fault(MESSAGE) == "its key is none"


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    for shown in (data.decode("latin-1"), armoured(data), armoured(b"SSHSIG\0\0\0\1" + data)):
        try:
            assert parse_ssh_signature(shown).fault(MESSAGE)
        except SignatureError:
            continue
    assert parse_ssh_signature(signature(data, data)).fault(MESSAGE)


@given(st.binary(max_size=300))
def test_any_commit_gets_an_answer(data: bytes) -> None:
    read_commit("0" * 40, data)


HEAD = b"tree 1\nparent 2\nauthor a <b> 1 +0000\ncommitter a <b> 17 +0000"
lines = st.lists(st.text("ab -=", min_size=1, max_size=9).map(str.encode), min_size=1, max_size=5)


@given(st.binary(max_size=80), lines, st.sampled_from([40, 64]))
def test_a_signature_that_is_put_in_is_found_and_what_it_covers_too(
    message: bytes, made: list[bytes], digits: int
) -> None:
    data = HEAD + b"\n\n" + message
    read = read_commit("0" * digits, with_signature("0" * digits, data, b"\n".join(made) + b"\n"))
    assert (read.payload, read.fault, read.time, read.committer) == (data, "", 17, "a <b>")
    assert read.signature.encode() == b"\n".join(made) + b"\n"


ADA, BEN = "ada@example.org", "ben@example.org"


def rules(*keys: AllowedKey, revoked: str = "") -> WriterRules:
    return WriterRules(
        allowed={Kind.SEAL: frozenset({ADA}), Kind.CANDIDATE: frozenset({ADA, BEN})},
        signers=AllowedSigners(data=b"", keys=keys),
        revoked=frozenset({revoked}),
        source="origin/main at 123",
    )


def test_a_commit_needs_a_writer_of_every_kind_in_it() -> None:
    found = rules(AllowedKey(principals=(BEN,), key="k"), AllowedKey(principals=(ADA, BEN), key="both"))
    assert found.refusal([Kind.CANDIDATE], "k", [1]) == ""
    assert found.refusal([Kind.CANDIDATE, Kind.SEAL], "k", [1]) == f"it is signed by {BEN}"
    assert found.refusal([Kind.CANDIDATE, Kind.SEAL], "both", [1]) == ""
    assert found.wanted([Kind.YANK, Kind.SEAL]) == f"seal records are for {ADA}"
    assert "revoked" in rules(AllowedKey(principals=(ADA,), key="k"), revoked="k").refusal(
        [Kind.SEAL], "k", [1]
    )


def test_a_line_counts_as_a_whole() -> None:
    key = AllowedKey(principals=(ADA,), key="k", namespaces=("decision@bootc-pipeline",))
    other = AllowedKey(principals=(BEN,), key="k", namespaces=("git",), after=5, before=9)
    assert rules(key, other).refusal([Kind.SEAL], "k", [7]) == f"it is signed by {BEN}"
    assert "git" in rules(key, other).refusal([Kind.CANDIDATE], "k", [4])
    assert [rules(other).refusal([Kind.CANDIDATE], "k", [one]) == "" for one in (4, 5, 9, 10)] == [
        False, True, True, False,
    ]  # fmt: skip


GOOD = ("git", "*", "g?t", "!file,git", "file,git")
BAD = ("[g]it", "Git", "*,!git", "!git,*", "!file", "gitx,xgit", "")


@pytest.mark.parametrize("patterns", [*GOOD, *BAD])
def test_namespaces_match_as_in_ssh_keygen(tmp_path: Path, patterns: str) -> None:
    key = ssh_key(tmp_path, "ann")
    (tmp_path / "message").write_bytes(MESSAGE)
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key), str(tmp_path / "message")], check=True
    )
    line = f'ann@example.org namespaces="{patterns}" {public(key)}\n'
    [read] = parse_allowed_signers(line.encode(), file="signers").keys
    (tmp_path / "signers").write_text(line)
    argv = ["ssh-keygen", "-Y", "verify", "-n", "git", "-I", "ann@example.org", "-f"]
    done = subprocess.run(
        [*argv, str(tmp_path / "signers"), "-s", str(tmp_path / "message.sig")],
        input=MESSAGE, check=False, capture_output=True,
    )  # fmt: skip
    assert (read.may_sign("git"), done.returncode == 0) == (patterns in GOOD, patterns in GOOD)


@pytest.mark.parametrize(
    ("option", "seconds"),
    [("20260102", 1767312000), ("20260102Z", 1767312000),
     ("202601020304", 1767323040), ("20260102030405", 1767323045)],
)  # fmt: skip
def test_times_of_the_list_are_read(tmp_path: Path, option: str, seconds: int) -> None:
    line = f'{ADA} valid-after="{option}",valid-before="{option}" {public(ssh_key(tmp_path, "k"))}\n'
    [read] = parse_allowed_signers(line.encode(), file="signers").keys
    assert (read.after, read.before) == (seconds, seconds)
    assert [read.counts_at(seconds + one) for one in (-1, 0, 1)] == [False, True, False]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ('valid-before="2026"', "valid-before is no time: '2026'"),
        ('valid-after="20261399"', "valid-after is no time"),
        ('namespaces="git",namespaces="file"', "says namespaces twice"),
    ],
)
def test_options_that_ssh_keygen_refuses_are_refused(tmp_path: Path, options: str, words: str) -> None:
    line = f"{ADA} {options} {public(ssh_key(tmp_path, 'k'))}\n"
    with pytest.raises(DefinitionError, match=words):
        parse_allowed_signers(line.encode(), file="signers")


def test_the_table_names_each_kind_that_can_be_asked_for() -> None:
    assert set(WritersTable.model_fields) - {"since"} == {kind.value for kind in DEMANDABLE}
    whole = {kind.value: (ADA,) for kind in DEMANDABLE}
    table = validate(WritersTable, whole, file="x", lines={})
    assert isinstance(table, WritersTable)
    assert table.allowed() == {kind: frozenset({ADA}) for kind in DEMANDABLE}
    for kind in set(Kind) - DEMANDABLE:
        found = validate(WritersTable, {kind.value: (ADA,)}, file="x", lines={})
        assert isinstance(found, tuple)
        assert "decisions are signed by their own" in found[0].message


def breach(*records: Record) -> Breach:
    return Breach(
        commit="c" * 40,
        titles=tuple(one.title for one in records),
        images=frozenset(itertools.chain.from_iterable(one.names() for one in records)),
        committer="Eve <eve@example.org>",
        why="it is not signed",
        wanted=f"seal records are for {ADA}",
        source="origin/main at 123",
    )


class Forged:
    """A ledger that somebody wrote to who may not."""

    def read(self, *, offline: bool = False) -> tuple[Record, ...]:
        assert offline
        return (candidate(), seal())

    def sift(self) -> Sifted:
        return Sifted(records=(candidate(),), breaches=(breach(seal(), yank(seal())),))


def test_an_audit_tells_of_what_it_leaves_out() -> None:
    ledger = SiftedLedger(Forged())
    assert ledger.read() == (candidate(),)
    [found] = writer_findings(ledger.breaches, ())
    assert (found.what, found.image) == (What.WRITER, "debian/base")
    assert What.WRITER not in NOTES
    assert "and 1 more, in commit cccccccccccc by Eve" in found.text
    assert list(writer_findings(ledger.breaches, {"debian/web-1"})) == []
    assert len(list(writer_findings(ledger.breaches, {"debian/base", "debian/web-1"}))) == 1
    assert len(ledger.read(offline=True)) == 2
