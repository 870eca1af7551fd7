"""Signatures with the real ssh-keygen: what is good, and everything that must not be."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from approvalkit import LATER, NOW, approval
from sshkeys import PROCESSES, at_a_terminal, listed, public, ssh_key

from pipeline.adapters.process import Processes
from pipeline.adapters.sshsig import SshKey, SshSignatures, signing_key
from pipeline.domain.allowed_signers import AllowedSigners, parse_allowed_signers
from pipeline.domain.approvals import Proved, Signed, Unproved
from pipeline.domain.decision import Approval, Method, Proof
from pipeline.errors import SignatureError, UsageError

WHO = "ben@example.org"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ben", "cleo"):
        ssh_key(folder, name)
    return folder


@pytest.fixture
def ben(keys: Path) -> Path:
    return keys / "ben"


@pytest.fixture
def cleo(keys: Path) -> Path:
    return keys / "cleo"


def signers(*lines: str) -> AllowedSigners:
    return parse_allowed_signers("".join(lines).encode(), file="allowed_signers")


def signed(key: Path, one: Approval | None = None, who: str = WHO) -> Approval:
    draft = one or approval(proof=None)
    return dataclasses.replace(draft, proof=SshKey(PROCESSES, key).sign(draft.statement(), who))


def check(one: Approval, allowed: AllowedSigners, revoked: bytes = b"", now: dt.datetime = NOW) -> Proved:
    return SshSignatures(PROCESSES).check(one, allowed, revoked, now)


def why(one: Approval, allowed: AllowedSigners, revoked: bytes = b"", now: dt.datetime = NOW) -> str:
    found = check(one, allowed, revoked, now)
    assert isinstance(found, Unproved), found
    return found.why


def test_a_signature_holds_for_its_signer(ben: Path) -> None:
    name = SshKey(PROCESSES, ben).fingerprint()
    assert check(signed(ben), signers(listed(ben))) == Signed(identity=WHO, key=name)
    assert signers(listed(ben)).principals_of(name) == (WHO,)


@pytest.mark.parametrize("options", [("-t", "ecdsa"), ("-t", "rsa", "-b", "3072")])
def test_other_types_of_key_do_too(tmp_path: Path, options: tuple[str, ...]) -> None:
    key = ssh_key(tmp_path, "ben", *options)
    assert isinstance(check(signed(key), signers(listed(key))), Signed)


@pytest.mark.parametrize("field", ["what", "why", "expires", "time", "decided"])
def test_edited_after_signing_is_refused(ben: Path, field: str) -> None:
    one = signed(ben)
    first = one.decided[0]
    other = {
        "what": "nothing at all", "why": "x", "expires": one.expires + dt.timedelta(days=300),
        "time": one.time - dt.timedelta(hours=1), "decided": (dataclasses.replace(first, version="9.9.9"),),
    }[field]  # fmt: skip
    edited = dataclasses.replace(one, **{field: other})  # type: ignore[arg-type]
    assert "incorrect signature" in why(edited, signers(listed(ben)))


def test_another_namespace_is_refused(ben: Path, tmp_path: Path) -> None:
    draft = approval(proof=None)
    said = tmp_path / "statement"
    said.write_bytes(draft.statement())
    subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(ben), str(said)], check=True, capture_output=True
    )
    text = "".join(said.with_suffix(".sig").read_text().split("\n")[1:-2])
    forged = Proof(method=Method.SSH, identity=WHO, key=SshKey(PROCESSES, ben).fingerprint(), text=text)
    assert "namespace" in why(dataclasses.replace(draft, proof=forged), signers(listed(ben, options="")))


def test_a_list_for_another_namespace_is_no_list_for_this(ben: Path) -> None:
    assert "not good" in why(signed(ben), signers(listed(ben, options='namespaces="git"')))


def test_a_key_that_was_removed_is_refused(ben: Path, cleo: Path) -> None:
    assert "speaks for nobody on the list" in why(signed(ben), signers(listed(cleo)))
    assert "speaks for nobody on the list" in why(signed(ben), signers())


def test_a_revoked_key_is_refused(ben: Path, cleo: Path, tmp_path: Path) -> None:
    both = signers(listed(ben), listed(cleo))
    assert why(signed(ben), both, revoked=public(ben).encode() + b"\n") == "its key was revoked"
    assert isinstance(check(signed(ben), both, revoked=public(cleo).encode() + b"\n"), Signed)
    krl = tmp_path / "krl"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(krl), f"{ben}.pub"], check=True)
    assert why(signed(ben), both, revoked=krl.read_bytes()) == "its key was revoked"


def test_an_expired_key_is_refused_though_the_record_is_dated_back(ben: Path) -> None:
    until = LATER + dt.timedelta(minutes=30)
    allowed = signers(listed(ben, options=f'valid-before="{until:%Y%m%d%H%M%S}"'))
    assert isinstance(check(signed(ben), allowed, now=LATER + dt.timedelta(minutes=5)), Signed)
    assert "expired" in why(signed(ben), allowed, now=LATER + dt.timedelta(hours=1))


def test_a_key_is_not_good_for_what_was_said_before_it_was_valid(ben: Path) -> None:
    allowed = signers(listed(ben, options=f'valid-after="{NOW:%Y%m%d%H%M%S}"'))
    assert "not good" in why(signed(ben), allowed, now=NOW + dt.timedelta(hours=1))


@pytest.mark.parametrize("zone", ["EAST-14", "WEST12"])
@pytest.mark.parametrize("suffix", ["", "Z"])
def test_times_in_the_list_are_universal_wherever_this_runs(ben: Path, zone: str, suffix: str) -> None:
    until = LATER + dt.timedelta(minutes=30)
    allowed = signers(listed(ben, options=f'valid-before="{until:%Y%m%d%H%M%S}{suffix}"'))
    there = SshSignatures(Processes(environment={**os.environ, "TZ": zone}))
    assert isinstance(there.check(signed(ben), allowed, b"", LATER), Signed)
    assert isinstance(there.check(signed(ben), allowed, b"", LATER + dt.timedelta(hours=1)), Unproved)


def test_a_name_that_the_key_does_not_have_is_refused(ben: Path, cleo: Path) -> None:
    allowed = signers(listed(ben), listed(cleo))
    assert "speaks for ben@example.org on the list" in why(signed(ben, who="cleo@example.org"), allowed)


def test_a_proof_that_names_another_key_is_refused(ben: Path, cleo: Path) -> None:
    one = signed(ben)
    assert one.proof is not None
    forged = dataclasses.replace(
        one.proof, key=SshKey(PROCESSES, cleo).fingerprint(), identity="cleo@example.org"
    )
    text = why(dataclasses.replace(one, proof=forged), signers(listed(ben), listed(cleo)))
    assert "its signature was made with SHA256:" in text


@pytest.mark.parametrize("text", ["x", "AAAA", "U1NIU0lHAAAAAQ==", "U1NIU0lHAAAAAf////8="])
def test_what_is_no_signature_is_refused(ben: Path, text: str) -> None:
    one = signed(ben)
    assert one.proof is not None
    broken = dataclasses.replace(one, proof=dataclasses.replace(one.proof, text=text))
    assert isinstance(check(broken, signers(listed(ben))), Unproved)
    with pytest.raises(SignatureError):
        signing_key(text if text != "U1NIU0lHAAAAAf////8=" else "?")


@pytest.mark.parametrize("space", [" ", "\n", "\t"])
def test_a_proof_is_written_in_one_way_only(ben: Path, space: str) -> None:
    proof = signed(ben).proof
    assert proof is not None
    with pytest.raises(SignatureError, match="it is no base64"):
        signing_key(proof.text[:70] + space + proof.text[70:])


def test_an_unsigned_decision_and_one_with_a_token_are_refused(ben: Path) -> None:
    assert why(approval(proof=None), signers(listed(ben))) == "it is not signed"
    token = Proof(method=Method.GITLAB, identity=WHO, key="https://gitlab.example.org", text="a.b.c")
    assert "not by an SSH key" in why(approval(proof=token), signers(listed(ben)))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[dict[str, str]]:
    socket = tmp_path / "agent.sock"
    child = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield {**os.environ, "SSH_AUTH_SOCK": str(socket)}
    child.terminate()
    child.wait(10)
    child.stdout.close()


def test_a_key_that_only_the_agent_has_signs(tmp_path: Path, agent: dict[str, str]) -> None:
    key = ssh_key(tmp_path, "ben")
    subprocess.run(["ssh-add", "-q", str(key)], check=True, env=agent)
    key.unlink()
    draft = approval(proof=None)
    half = key.with_name("ben.pub")
    proof = SshKey(Processes(environment=agent), half).sign(draft.statement(), WHO)
    allowed = signers(listed(key))
    assert isinstance(check(dataclasses.replace(draft, proof=proof), allowed), Signed)
    with pytest.raises(SignatureError, match="did not sign"):
        SshKey(Processes(environment={"PATH": os.environ["PATH"]}), half).sign(b"x", WHO)


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    for name in ("text", "missing"):
        with pytest.raises(UsageError, match="is no SSH key"):
            SshKey(PROCESSES, tmp_path / name).fingerprint()


SIGN = """
import os, sys
from pathlib import Path
from pipeline.adapters.process import Processes
from pipeline.adapters.sshsig import SshKey
key = SshKey(Processes(environment=os.environ), Path(sys.argv[1]))
print("fingerprint", key.fingerprint())
print("proof", key.sign(b"said", "ben@example.org").key)
"""


def test_a_passphrase_is_asked_for_at_the_terminal(tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "ben", passphrase="correct horse")
    argv = [sys.executable, "-c", SIGN, str(key)]
    code, screen = at_a_terminal(argv, {"Enter passphrase": "correct horse"}, {"SSH_AUTH_SOCK": ""})
    assert code == 0, screen
    name = SshKey(PROCESSES, key).fingerprint()
    assert f"fingerprint {name}" in screen
    assert f"proof {name}" in screen
    assert "correct horse" not in screen


def test_a_wrong_passphrase_signs_nothing(tmp_path: Path) -> None:
    key = ssh_key(tmp_path, "ben", passphrase="correct horse")
    argv = [sys.executable, "-c", SIGN, str(key)]
    code, screen = at_a_terminal(argv, {"Enter passphrase": "wrong"}, {"SSH_AUTH_SOCK": ""})
    assert code != 0
    assert "did not sign" in screen
