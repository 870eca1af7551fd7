"""Signatures with SSH keys, by `ssh-keygen -Y`: a key file, a key in an agent or on a security key.

Rules: made and checked for one namespace alone; checked against the list of signers that is given, at the
time the statement was made *and* at the time it is relied on, so that an expired key cannot sign by dating
back; the principal must be written out in the list for exactly the key that signed; whatever ssh-keygen does
not call good is no signature. It may talk to the person at the terminal (passphrase, PIN, touch); nothing of
it is read here.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
import textwrap
from pathlib import Path

from pipeline.adapters.process import Completed, Processes
from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approvals import Proved, Signed, Unproved
from pipeline.domain.decision import NAMESPACE, Decision, Method, Proof
from pipeline.domain.ssh_signature import BEGIN, END, parse_unarmoured
from pipeline.domain.text import plain
from pipeline.errors import SignatureError, UsageError

_PUBLIC = re.compile(rb"(?:ssh-|sk-|ecdsa-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+")
_GOOD = re.compile(r'Good "(?P<namespace>[^"]*)" signature for (?P<who>\S+) with \S+ key (?P<key>SHA256:\S+)')
_LISTED = re.compile(r"[0-9]+ (?P<key>SHA256:\S+)")
_UTC = {"TZ": "UTC"}  # ssh-keygen takes times without a zone, in lists too, for local time


class SshKey:
    """A person's key.

    Args:
        processes: The door to ssh-keygen.
        key: A private key, the handle of a security key, or a public key whose other half an agent has.
    """

    def __init__(self, processes: Processes, key: Path) -> None:
        self._processes = processes
        self._key = key

    def fingerprint(self) -> str:
        """Return the key's name, `SHA256:…`; asks for no passphrase.

        Raises:
            UsageError: There is no such key.
            ToolMissingError: ssh-keygen is not installed.
        """
        done = self._processes.run(
            ["ssh-keygen", "-l", "-E", "sha256", "-f", str(self._key.absolute())], check=False, timeout=60
        )
        found = _LISTED.match(done.stdout)
        if done.code != 0 or found is None:
            raise UsageError(
                f"{self._key} is no SSH key: {plain(done.stderr.strip() or done.stdout)}",
                hint="name a key made with ssh-keygen, or the .pub file of one that your agent has",
            )
        return found["key"]

    def principals(self, signers: AllowedSigners) -> tuple[str, ...]:
        """Return whom the list lets the key speak for; raises as `fingerprint` does."""
        return signers.principals_of(self.fingerprint())

    def sign(self, statement: bytes, identity: str) -> Proof:
        """Return the proof of a statement in a principal's name; ssh-keygen may ask for passphrase or touch.

        Raises:
            SignatureError: The key could not be used, or what came out is no signature.
            ToolMissingError: ssh-keygen is not installed.
        """
        with tempfile.TemporaryDirectory(prefix="pipeline-sign-") as folder:
            said = Path(folder) / "statement"
            said.write_bytes(statement)
            code = self._processes.attended(
                ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, *self._named(), str(said)]
            )
            made = said.with_name("statement.sig")
            if code != 0 or not made.is_file():
                raise SignatureError(
                    f"ssh-keygen did not sign with {self._key} (code {code})",
                    hint="look at what it said above; `ssh-add -l` shows what an agent holds",
                )
            text = _unarmoured(made.read_text(encoding="ascii", errors="replace"))
        return Proof(method=Method.SSH, identity=identity, key=signing_key(text), text=text)

    def _named(self) -> list[str]:
        public = _PUBLIC.match(self._key.read_bytes()[:1024])
        return [*(["-U"] if public else []), "-f", str(self._key.absolute())]


class SshSignatures:
    """Checks proofs.

    Args:
        processes: The door to ssh-keygen.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:
        """Return who proved a decision, or why nobody did.

        Args:
            decision: The decision with its proof.
            signers: The list of signers.
            revoked: Revoked keys, a KRL or public keys one a line; empty for none.
            now: When it is relied on; UTC.

        Raises:
            ToolMissingError: ssh-keygen is not installed.
        """
        proof = decision.proof
        if proof is None:
            return Unproved(why="it is not signed")
        if proof.method is not Method.SSH:
            return Unproved(why=f"it is proved by {proof.method}, not by an SSH key")
        why = _unlisted(proof, signers)
        if why:
            return Unproved(why=why)
        with tempfile.TemporaryDirectory(prefix="pipeline-verify-") as folder:
            files = _Files(Path(folder), proof, signers, revoked)
            for moment in dict.fromkeys((decision.time, now)):
                why = self._refused(decision.statement(), proof, files, moment)
                if why:
                    return Unproved(why=why)
        return Signed(identity=proof.identity, key=proof.key)

    def _refused(self, statement: bytes, proof: Proof, files: _Files, moment: dt.datetime) -> str:
        """Return why the signature is not good at a time; empty when it is."""
        done = self._verified(statement, proof, files, moment, files.revocation)
        if done.code != 0 and files.revocation and self._verified(statement, proof, files, moment).code == 0:
            return "its key was revoked"
        if done.code != 0:
            return f"its signature is not good: {plain(done.stderr.strip() or done.stdout.strip(), 300)}"
        good = _GOOD.match(done.stdout)
        if good is None or (good["namespace"], good["key"]) != (NAMESPACE, proof.key):
            return f"its signature is not what it says: {plain(done.stdout.strip(), 200)}"
        return ""

    def _verified(
        self,
        statement: bytes,
        proof: Proof,
        files: _Files,
        moment: dt.datetime,
        revocation: tuple[str, ...] = (),
    ) -> Completed:
        when = moment.strftime("%Y%m%d%H%M%S")
        return self._processes.run(
            [
                "ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", proof.identity, "-f", str(files.signers),
                "-s", str(files.signature), "-O", f"verify-time={when}", *revocation,
            ],
            check=False,
            stdin=statement.decode(),
            timeout=60,
            env=_UTC,
        )  # fmt: skip


class _Files:
    """What ssh-keygen reads from files."""

    def __init__(self, folder: Path, proof: Proof, signers: AllowedSigners, revoked: bytes) -> None:
        self.signers, self.signature = folder / "allowed_signers", folder / "signature"
        self.signers.write_bytes(signers.data)
        self.signature.write_text(_armoured(proof.text), encoding="ascii")
        self.revocation: tuple[str, ...] = ()
        if revoked:
            (folder / "revoked").write_bytes(revoked)
            self.revocation = ("-r", str(folder / "revoked"))


def signing_key(text: str) -> str:
    """Return the fingerprint of the key that made a signature, given without its armour.

    Raises:
        SignatureError: It is no SSH signature.
    """
    try:
        return parse_unarmoured(text).key
    except SignatureError as error:
        raise _no_signature(error.message) from error


def _unlisted(proof: Proof, signers: AllowedSigners) -> str:
    """Return why the list does not let the key speak for the principal; empty when it does."""
    try:
        key = signing_key(proof.text)
    except SignatureError as error:
        return plain(error.message)
    if key != proof.key:
        return f"it names the key {plain(proof.key, 60)}, its signature was made with {key}"
    listed = signers.principals_of(key)
    if proof.identity not in listed:
        known = ", ".join(listed) or "nobody"
        return f"the key {key} speaks for {known} on the list of signers, not for {plain(proof.identity, 80)}"
    return ""


def _unarmoured(text: str) -> str:
    lines = text.split()
    body = "".join(text.removeprefix(BEGIN).rstrip().removesuffix(END).split())
    if not lines or not text.startswith(BEGIN):
        raise _no_signature("it has no armour")
    return body


def _armoured(text: str) -> str:
    return "\n".join((BEGIN, *textwrap.wrap(text, 70), END, ""))


def _no_signature(why: str) -> SignatureError:
    return SignatureError(f"this is no SSH signature: {why}", hint="sign with ssh-keygen 8.9 or newer")
