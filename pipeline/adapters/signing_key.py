"""A release key that lies in a file or a variable: opened once, and used in this process.

Rules: only cosign's encrypted form is read (scrypt and NaCl's secretbox, go-securesystemslib's `encrypted`),
with no more memory and work than a real key asks for; whatever is wrong with a key or its password is one
message that quotes nothing of either; the opened key is held by its signer alone, and is never written.
Signatures are those that hosts verify (`domain.signature`): SHA-256 with every curve. (`cosign sign-blob`
takes SHA-384 with P-384 and SHA-512 with P-521, which neither hosts nor its own `verify-blob` accept.)
ECDSA takes its secret numbers from key and text (RFC 6979): what is signed again has the same signature.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from pipeline.domain.signature import VerifyKey
from pipeline.domain.text import plain
from pipeline.errors import SignatureError

KEY_LIMIT = 64 << 10
"""Bytes of the largest encrypted key that is read; one of RSA with 4096 bits has 5,000."""

WORK_LIMIT = 1 << 21
"""The largest product of scrypt's N, r and p; each of it takes 128 bytes of memory at the most. It is 2^19 in
the keys that cosign makes."""

_PEM = re.compile(
    r"\s*-----BEGIN ENCRYPTED (SIGSTORE|COSIGN) PRIVATE KEY-----([A-Za-z0-9+/=\s]+)"
    r"-----END ENCRYPTED \1 PRIVATE KEY-----"
)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_MAKE = "make one with `cosign generate-key-pair`, or import yours with `cosign import-key-pair`"
_AGAIN = "take the key from where it is kept safe, or make a new one with `cosign generate-key-pair`"
_PASSWORD = "see that COSIGN_PASSWORD is the password of this key, then run the same command again"  # noqa: S105 - a hint

_Private: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey


class FileSigner:
    """Signs with a key that was encrypted by cosign; a `verbs.signing.Signer`.

    Args:
        name: How people know the key: its path or `env://VARIABLE`.
        text: The encrypted key, PEM.
        password: What it was encrypted with; may be empty.

    Attributes:
        key: The public half.

    Raises:
        SignatureError: This is no encrypted cosign key, the password does not open it, or it is of a kind
            whose signatures hosts cannot check.
    """

    def __init__(self, name: str, text: str, password: bytes) -> None:
        self._name = plain(name, 200)
        private = _loaded(self._name, _opened(self._name, _Locked.read(self._name, text), password))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key = VerifyKey.parse(f"the public key of {self._name}", public.decode())
        self._private = _fit(self._name, private)

    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return the signature of each blob, in their order.

        Raises:
            SignatureError: The cryptographic library of this machine cannot make such signatures.
        """
        try:
            return tuple(map(self._signature, blobs))
        except (UnsupportedAlgorithm, ValueError) as error:
            raise SignatureError(
                f"no signature can be made with {self._name}: {plain(str(error), 200)}",
                hint="install the version of `cryptography` that this program was tested with",
            ) from None

    def _signature(self, blob: bytes) -> bytes:
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            return self._private.sign(blob, ec.ECDSA(SHA256(), deterministic_signing=True))
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(blob, padding.PKCS1v15(), SHA256())
        return self._private.sign(blob)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)


class _Params(_Part):
    n: int = Field(alias="N", ge=2)
    r: int = Field(ge=1)
    p: int = Field(ge=1)


class _Kdf(_Part):
    name: Literal["scrypt"]
    params: _Params
    salt: Base64Bytes


class _Cipher(_Part):
    name: Literal["nacl/secretbox"]
    nonce: Base64Bytes


class _Locked(_Part):
    """What is in the PEM block of an encrypted key."""

    kdf: _Kdf
    cipher: _Cipher
    ciphertext: Base64Bytes

    @classmethod
    def read(cls, name: str, text: str) -> _Locked:
        """Return the parts of a key; what follows its PEM block is left alone, as cosign does.

        Raises:
            SignatureError: It is none, or asks for too much.
        """
        found = _PEM.match(text) if len(text) <= KEY_LIMIT else None
        if found is None:
            raise SignatureError(f"{name} is no encrypted cosign key", hint=_MAKE)
        try:
            locked = cls.model_validate_json(base64.b64decode("".join(found[2].split()), validate=True))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _damaged(name, f"{where}: {first['msg']}" if where else first["msg"]) from None
        except ValueError:
            raise _damaged(name, "its PEM block is no base64") from None
        _require_bearable(name, locked.kdf.params)
        return locked


def _require_bearable(name: str, params: _Params) -> None:
    """Refuse what would take the machine's memory or its time, before scrypt starts."""
    n, r, p = params.n, params.r, params.p
    if n & (n - 1) or n * r * p > WORK_LIMIT:
        shown = ", ".join(
            f"{letter}={plain(str(value), 24)}" for letter, value in zip("Nrp", (n, r, p), strict=True)
        )
        raise SignatureError(
            f"{name} asks for scrypt with {shown}: N must be a power of two, and N·r·p {WORK_LIMIT} at most",
            hint=_AGAIN,
        )


def _opened(name: str, locked: _Locked, password: bytes) -> bytes:
    """Return the private key, DER."""
    params = locked.kdf.params
    try:
        scrypt = Scrypt(salt=locked.kdf.salt, length=SecretBox.KEY_SIZE, n=params.n, r=params.r, p=params.p)
        box = SecretBox(scrypt.derive(password))
    except (ValueError, MemoryError) as error:
        raise _damaged(name, f"scrypt: {error}") from None
    try:
        return box.decrypt(locked.ciphertext, locked.cipher.nonce)
    except (CryptoError, ValueError):
        raise SignatureError(
            f"{name} does not open: the password is wrong, or the key is damaged", hint=_PASSWORD
        ) from None


def _loaded(name: str, der: bytes) -> PrivateKeyTypes:
    try:
        return load_der_private_key(der, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What the library says of it may quote the key.
        raise _damaged(name, "what was encrypted is no private key that is known here") from None


def _fit(name: str, private: PrivateKeyTypes) -> _Private:
    """Return the key if hosts can check what it signs; `VerifyKey` has looked at its kind already."""
    if isinstance(private, ec.EllipticCurvePrivateKey) and not isinstance(private.curve, _CURVES):
        raise SignatureError(
            f"{name} is on the curve {private.curve.name}, which hosts cannot check",
            hint="use ECDSA P-256, as `cosign generate-key-pair` makes it",
        )
    assert isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey)  # noqa: S101 - `VerifyKey.parse` saw to it
    return private


def _damaged(name: str, why: str) -> SignatureError:
    return SignatureError(f"{name} is a damaged cosign key: {plain(why, 200)}", hint=_AGAIN)
