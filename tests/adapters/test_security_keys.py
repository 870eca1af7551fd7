"""Approvals and git tags signed by a security key (FIDO), checked by the real ssh-keygen and git.

The key is made here from its published form (OpenSSH, PROTOCOL.u2f): what the device does is a signature of a
few more bytes, so that no device is needed to find out whether its signatures count.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from approvalkit import NOW, approval
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ledgers import git
from sshkeys import PROCESSES

from pipeline.adapters.gittags import GitTags, Tagging
from pipeline.adapters.sshsig import SshSignatures
from pipeline.domain.allowed_signers import AllowedSigners, fingerprint, parse_allowed_signers
from pipeline.domain.approvals import Signed, Unproved
from pipeline.domain.decision import NAMESPACE, Method, Proof
from pipeline.domain.sealing import TagOrder

WHO = "ben@example.org"
MAGIC = b"SSHSIG"
TOUCHED = 0x01


def text(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class SecurityKey:
    """A key whose device was touched each time, unless told otherwise."""

    kind: bytes
    public: bytes

    def raw(self, data: bytes) -> bytes:
        """What the device signs it with."""
        raise NotImplementedError

    def signature(self, message: bytes, namespace: str, *, application: bytes = b"ssh:") -> str:
        """An SSH signature without its armour."""
        fields = text(namespace.encode()) + text(b"") + text(b"sha512")
        signed = MAGIC + fields + text(hashlib.sha512(message).digest())
        more = bytes([TOUCHED]) + (7).to_bytes(4, "big")
        asked = hashlib.sha256(application).digest() + more + hashlib.sha256(signed).digest()
        made = text(self.kind) + text(self.raw(asked)) + more
        blob = MAGIC + (1).to_bytes(4, "big") + text(self.public) + fields + text(made)
        return base64.b64encode(blob).decode()

    @property
    def line(self) -> str:
        return f"{self.kind.decode()} {base64.b64encode(self.public).decode()}"

    def proof(self, message: bytes, **more: bytes) -> Proof:
        made = self.signature(message, NAMESPACE, **more)
        return Proof(method=Method.SSH, identity=WHO, key=fingerprint(self.public), text=made)


class Ed25519Key(SecurityKey):
    kind = b"sk-ssh-ed25519@openssh.com"

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = text(self.kind) + text(raw) + text(b"ssh:")

    def raw(self, data: bytes) -> bytes:
        return self._key.sign(data)


class EcdsaKey(SecurityKey):
    kind = b"sk-ecdsa-sha2-nistp256@openssh.com"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public = text(self.kind) + text(b"nistp256") + text(point) + text(b"ssh:")

    def raw(self, data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(self._key.sign(data, ec.ECDSA(SHA256())))
        return b"".join(text(one.to_bytes(one.bit_length() // 8 + 1, "big")) for one in (r, s))


def signers(key: SecurityKey) -> AllowedSigners:
    line = f'{WHO} namespaces="{NAMESPACE}" {key.line}\n'
    return parse_allowed_signers(line.encode(), file="allowed_signers")


@pytest.mark.parametrize("kind", [Ed25519Key, EcdsaKey])
def test_an_approval_by_a_security_key_counts(kind: Callable[[], SecurityKey]) -> None:
    key, draft = kind(), approval(proof=None)
    one = dataclasses.replace(draft, proof=key.proof(draft.statement()))
    found = SshSignatures(PROCESSES).check(one, signers(key), b"", NOW)
    assert found == Signed(identity=WHO, key=fingerprint(key.public))
    edited = dataclasses.replace(one, what="nothing at all")
    assert isinstance(SshSignatures(PROCESSES).check(edited, signers(key), b"", NOW), Unproved)
    other = kind()
    assert isinstance(SshSignatures(PROCESSES).check(one, signers(other), b"", NOW), Unproved)


def test_what_a_security_key_signed_for_another_application_does_not_count() -> None:
    key, draft = Ed25519Key(), approval(proof=None)
    one = dataclasses.replace(draft, proof=key.proof(draft.statement(), application=b"ssh:elsewhere"))
    assert isinstance(SshSignatures(PROCESSES).check(one, signers(key), b"", NOW), Unproved)


def test_a_release_tag_by_a_security_key_is_the_release_tag(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    key, name, mark = Ed25519Key(), "debian/base/v1.0.0", "Image: registry.example.org/os/base@sha256:0"
    order = TagOrder(name=name, commit=commit, message=f"a release\n\n{mark}", mark=mark)
    head = (
        f"object {commit}\ntype commit\ntag {name}\ntagger Ben <{WHO}> 1795000000 +0000\n\n{order.message}\n"
    )
    body = "\n".join(textwrap.wrap(key.signature(head.encode(), "git"), 70))
    armour = f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"
    made = git(tmp_path, "mktag", stdin=head + armour)
    git(tmp_path, "update-ref", f"refs/tags/{name}", made)
    allowed = tmp_path / "signers"
    allowed.write_text(f"{WHO} {key.line}\n")
    git(tmp_path, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-tag", name)
    tagging = Tagging(key=allowed, unsigned=False, identity=("Ben", WHO), clock=lambda: NOW)
    tags = GitTags(tmp_path, remote="origin", tagging=tagging, processes=PROCESSES)
    tags.write([order])
    assert git(tmp_path, "rev-parse", f"refs/tags/{name}") == made
