"""Keys of cosign opened here: the same key, signatures that cosign accepts, and files that are none."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cosigntool import cosign_program, key_pair
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.secret import SecretBox
from signingkit import imported_pair, private_key

from pipeline.adapters.signing_key import FileSigner
from pipeline.errors import SignatureError

pytestmark = pytest.mark.engine
PASSWORD = "open, sesame: pässword"
BLOB = b"a claim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A key pair of cosign's, with PASSWORD."""

    private: Path
    public: Path

    def signer(self) -> FileSigner:
        return FileSigner(str(self.private), self.private.read_text(), PASSWORD.encode())


def cosign(*arguments: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [cosign_program(), *arguments],
        env={**os.environ, "COSIGN_PASSWORD": password, "COSIGN_YES": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def verify_blob(public: Path, blob: bytes, signature: bytes, folder: Path) -> bool:
    """Ask cosign, as the user of a release would."""
    (folder / "blob").write_bytes(blob)
    (folder / "signature").write_bytes(base64.b64encode(signature))
    done = cosign(
        "verify-blob",
        f"--key={public}",
        f"--signature={folder / 'signature'}",
        "--insecure-ignore-tlog",
        str(folder / "blob"),
    )
    return done.returncode == 0


def der(kind: str) -> bytes:
    return private_key(kind).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module", params=["generated", "p256", "p384", "p521", "rsa2048", "rsa4096", "ed25519"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "generated":
        done = cosign("generate-key-pair", f"--output-key-prefix={folder / 'release'}")
        assert done.returncode == 0, done.stderr
        return Pair(private=folder / "release.key", public=folder / "release.pub")
    private, public = imported_pair(folder, request.param, PASSWORD)
    return Pair(private=private, public=public)


def test_cosign_accepts_what_is_signed_here(pair: Pair, tmp_path: Path) -> None:
    signer = pair.signer()
    assert signer.key.pem == pair.public.read_text() == cosign("public-key", f"--key={pair.private}").stdout
    blobs = [b"", BLOB, b"x" * 300_000]
    signed = signer.sign(blobs)
    assert [signer.key.verifies(blob, one) for blob, one in zip(blobs, signed, strict=True)] == [True] * 3
    assert verify_blob(pair.public, BLOB, signed[1], tmp_path)
    assert not verify_blob(pair.public, BLOB + b".", signed[1], tmp_path)
    assert signer.sign(blobs) == signed
    assert signer.sign([]) == ()


def test_what_cosign_signs_with_the_same_key_is_accepted_here(tmp_path: Path) -> None:
    private, _ = key_pair(tmp_path, "release")
    (tmp_path / "blob").write_bytes(BLOB)
    done = cosign(
        "sign-blob",
        f"--key={private}",
        "--tlog-upload=false",
        "--use-signing-config=false",
        "--new-bundle-format=false",
        str(tmp_path / "blob"),
        password="",
    )
    signer = FileSigner(str(private), private.read_text(), b"")
    assert signer.key.verifies(BLOB, base64.b64decode(done.stdout))


# --- files that are not as they should be ----------------------------------------------------------------


def document(content: bytes, password: bytes = b"", *, n: int = 16, r: int = 1, p: int = 1) -> dict[str, Any]:
    """Encrypt as cosign does; with scrypt at its least, so that a test may open thousands."""
    salt, nonce = b"s" * 32, b"n" * 24
    box = SecretBox(Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(password))
    return {
        "kdf": {"name": "scrypt", "params": {"N": n, "r": r, "p": p}, "salt": code(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": code(nonce)},
        "ciphertext": code(box.encrypt(content, nonce).ciphertext),
    }


def code(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pem(content: object, kind: str = "SIGSTORE") -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    begin, end = (f"-----{word} ENCRYPTED {kind} PRIVATE KEY-----\n" for word in ("BEGIN", "END"))
    return f"{begin}{code(data)}\n{end}"


KEY = der("p256")
LOCKED_AGAIN = private_key("p256").private_bytes(
    Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
)
HALF = private_key("p256").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
GOOD = document(KEY)
PUBLIC = FileSigner("good.key", pem(GOOD), b"").key.pem


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the good document with one value changed, or gone if None."""
    copy: dict[str, Any] = json.loads(json.dumps(GOOD))
    *above, last = path.split(".")
    holder = copy
    for name in above:
        holder = holder[name]
    holder[last] = value
    if value is None:
        del holder[last]
    return copy


def refused(text: str) -> SignatureError:
    with pytest.raises(SignatureError) as caught:
        FileSigner("keys/\x1b[31mrelease.key", text, b"")
    error = caught.value
    assert error.message.isprintable()
    assert error.message.startswith(
        ("keys/\\x1b[31mrelease.key ", "the public key of keys/\\x1b[31mrelease.key")
    )
    assert error.hint
    return error


@pytest.mark.parametrize(
    "text",
    [
        pem(GOOD),
        pem(GOOD, "COSIGN"),
        "\n \n" + pem(GOOD).replace("\n", "\r\n"),
        pem(GOOD).replace("\n", " "),
        pem(GOOD) + "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        pem({**GOOD, "comment": "of a newer cosign"}),
        pem(document(KEY, n=32768, r=8)),
        pem(document(KEY, n=131072, r=8)),
    ],
)
def test_other_spellings_of_a_key_open(text: str) -> None:
    assert FileSigner("good.key", text, b"").key.pem == PUBLIC


@pytest.mark.parametrize(
    "text",
    [
        "", "\x00", PUBLIC, "é" + pem(GOOD), pem(GOOD)[:-40],
        pem(GOOD).replace("END ENCRYPTED S", "END ENCRYPTED C"),
        pem(GOOD, "OPENSSH"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(GOOD).replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1), pem(b"x" * 100_000),
    ],
)  # fmt: skip
def test_what_is_no_encrypted_key_is_refused(text: str) -> None:
    assert "no encrypted cosign key" in refused(text).message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (pem(GOOD).replace("KEY-----\n", "KEY-----\nA", 1), "no base64"),
        (pem(b"{"), "Invalid JSON"),
        (pem(b"\xff\xfe"), "Invalid JSON"),
        (pem(b"[" * 40_000), "Invalid JSON"),
        (pem(b""), "Invalid JSON"),
        (pem([]), "should be an object"),
        (pem({}), "kdf: Field required"),
        (pem(changed("kdf", "scrypt")), "kdf: "),
        (pem(changed("kdf.name", "argon2id")), r"kdf\.name: Input should be 'scrypt'"),
        (pem(changed("cipher.name", "aes-256-gcm")), r"cipher\.name: Input should be 'nacl/secretbox'"),
        (pem(changed("kdf.params.N", None)), r"kdf\.params\.N: Field required"),
        (pem(changed("kdf.params.N", 1)), r"kdf\.params\.N: "),
        (pem(changed("kdf.params.r", 0)), r"kdf\.params\.r: "),
        (pem(changed("kdf.params.p", -1)), r"kdf\.params\.p: "),
        (pem(changed("kdf.params.N", 16.0)), r"kdf\.params\.N: "),
        (pem(changed("kdf.params.N", "16")), r"kdf\.params\.N: "),
        (pem(changed("kdf.params.p", True)), r"kdf\.params\.p: "),
        (pem(changed("kdf.salt", "A")), r"kdf\.salt: "),
        (pem(changed("cipher.nonce", 5)), r"cipher\.nonce: "),
        (pem(changed("ciphertext", None)), "ciphertext: Field required"),
        (pem(changed("kdf.params.N", 65536)), "scrypt"),
        (pem(document(b"")), "no private key"),
        (pem(document(b"no key at all")), "no private key"),
        (pem(document(KEY[:-1])), "no private key"),
        (pem(document(LOCKED_AGAIN)), "no private key"),
        (pem(document(HALF)), "no private key"),
    ],
)  # fmt: skip
def test_a_damaged_key_is_told_with_its_place(text: str, why: str) -> None:
    error = refused(text)
    assert "is a damaged cosign key: " in error.message
    assert pytest.raises(SignatureError, match=why).matches(error)


@pytest.mark.parametrize(
    ("n", "r", "p"),
    [
        (1 << 30, 8, 1),
        (1 << 19, 8, 1),
        (16, 1 << 20, 1),
        (16, 1, 1 << 30),
        (24, 1, 1),
        (1 << 62, 1, 1),
        (10**18, 10**18, 10**18),
    ],
)
def test_a_key_that_would_take_the_machine_s_memory_is_refused(n: int, r: int, p: int) -> None:
    error = refused(pem(changed("kdf.params", {"N": n, "r": r, "p": p})))
    assert f"scrypt with N={n}, r={r}, p={p}" in error.message


@pytest.mark.parametrize("path", ["kdf.salt", "cipher.nonce", "ciphertext"])
@pytest.mark.parametrize("value", ["", "AAAA", code(b"x" * 24)])
def test_what_does_not_open_is_told(path: str, value: str) -> None:
    assert "does not open" in refused(pem(changed(path, value))).message


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("secp256k1", "on the curve secp256k1, which hosts cannot check"),
        ("x25519", "X25519PublicKey, which hosts cannot check"),
        ("dsa", "DSAPublicKey, which hosts cannot check"),
        ("rsa1024", "an RSA key of 1024 bits"),
    ],
)
def test_a_key_of_an_unfit_kind_is_refused(kind: str, why: str) -> None:
    assert why in refused(pem(document(der(kind)))).message


def test_a_wrong_password_is_told_without_any_secret() -> None:
    text = pem(document(KEY, PASSWORD.encode()))
    assert FileSigner("release.key", text, PASSWORD.encode()).key.pem == PUBLIC
    for wrong in ("", "wrong, but long enough to be seen", PASSWORD + "\n", PASSWORD[:-1]):
        with pytest.raises(SignatureError, match="does not open: the password is wrong") as caught:
            FileSigner("release.key", text, wrong.encode())
        assert "COSIGN_PASSWORD" in caught.value.hint
        told = "".join(traceback.format_exception(caught.value))
        assert text.splitlines()[1] not in told
        assert not wrong or wrong not in told


def test_the_key_does_not_leave_its_signer() -> None:
    signer = FileSigner("release.key", pem(document(KEY, PASSWORD.encode())), PASSWORD.encode())
    held = repr(vars(signer))
    assert PASSWORD not in held
    assert not any(secret in held for secret in (repr(KEY)[2:-1], code(KEY), KEY.hex()))
    with pytest.raises(TypeError):
        pickle.dumps(signer)


def opened(text: str) -> FileSigner | None:
    """Return the signer, or None after one clean error."""
    error: SignatureError
    try:
        return FileSigner("release.key", text, b"")
    except SignatureError as caught:
        error = caught
    assert error.message.isprintable()
    assert error.hint
    return None


def same_or_refused(text: str) -> None:
    signer = opened(text)
    assert signer is None or signer.key.pem == PUBLIC


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_file_with_changed_letters_is_never_an_accident(data: st.DataObject) -> None:
    text = pem(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.sampled_from((0, 1, 2, 40)))
        new = data.draw(st.text(max_size=3) | st.sampled_from(("=", "\n", "-----", "A")))
        text = text[:at] + new + text[at + gone :]
    same_or_refused(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 40) | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(("kdf", "kdf.name", "kdf.params", "kdf.params.N", "kdf.params.r", "kdf.params.p",
                     "kdf.salt", "cipher", "cipher.name", "cipher.nonce", "ciphertext")),
    json_values,
)  # fmt: skip
def test_a_file_with_a_changed_value_is_never_an_accident(path: str, value: object) -> None:
    same_or_refused(pem(changed(path, value)))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(KEY) - 1), st.binary(max_size=3))
def test_a_key_that_was_changed_before_it_was_encrypted_is_never_an_accident(at: int, new: bytes) -> None:
    content = KEY[:at] + new + KEY[at + 1 :]
    signer = opened(pem(document(content)))
    assert signer is None or signer.key.verifies(BLOB, signer.sign([BLOB])[0])
