"""SSH signatures (OpenSSH, PROTOCOL.sshsig), read and checked here, without a process for each.

Rules: whatever bytes come in, the answer is a signature or a SignatureError; a signature is good for exactly
one namespace, message and key; only what ssh-keygen calls good is good, and weak RSA keys and SHA-1 are not.
Kinds of keys: Ed25519, ECDSA, RSA, and the two that live on security keys (PROTOCOL.u2f).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from pipeline.domain.allowed_signers import fingerprint
from pipeline.errors import SignatureError

BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
"""The lines around a signature."""

LIMIT = 16 << 10
"""Characters of the longest signature that is read; one by RSA with 16384 bits has 6000."""

_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4, "big")
_LENGTH = 4
_COUNTER = 5
_WEAKEST_RSA = 2048
_STRONGEST_RSA = 16384
_DIGESTS = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_RSA = {b"rsa-sha2-256": SHA256(), b"rsa-sha2-512": SHA512()}
_CURVES: dict[bytes, tuple[ec.EllipticCurve, SHA256 | SHA384 | SHA512]] = {
    b"nistp256": (ec.SECP256R1(), SHA256()),
    b"nistp384": (ec.SECP384R1(), SHA384()),
    b"nistp521": (ec.SECP521R1(), SHA512()),
}
_ED25519, _SK_ED25519 = b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com"
_SK_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"
_Public: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSignature:
    """A signature as it was found, not checked yet.

    Attributes:
        public: The key that is said to have made it, as SSH writes keys.
        namespace: What it was made for.
        reserved, digest, made: Further fields of the format: the hash's name, and the signature proper.
    """

    public: bytes
    namespace: str
    reserved: bytes
    digest: bytes
    made: bytes

    @property
    def key(self) -> str:
        """The key's fingerprint, `SHA256:…`."""
        return fingerprint(self.public)

    def fault(self, message: bytes) -> str:
        """Return why this is no good signature of a message by its key; "" when it is one."""
        hashed = _DIGESTS.get(self.digest)
        if hashed is None:
            return f"it hashes with {_shown(self.digest)}"
        parts = (self.namespace.encode(), self.reserved, self.digest, hashed(message).digest())
        try:
            _verify(self.public, self.made, _MAGIC + b"".join(_text(one) for one in parts))
        except InvalidSignature:
            return "it is of something else"
        except SignatureError as error:
            return error.message
        except (ValueError, UnsupportedAlgorithm):
            return "its key is none"
        return ""


def parse_ssh_signature(text: str) -> SshSignature:
    """Return the signature in a text with its armour, as ssh-keygen writes it.

    Raises:
        SignatureError: It is none.
    """
    if len(text) > LIMIT or not text.startswith(f"{BEGIN}\n") or not text.rstrip("\n").endswith(f"\n{END}"):
        raise _wrong("it has no armour")
    return parse_unarmoured(text.rstrip("\n").removeprefix(BEGIN).removesuffix(END).replace("\n", ""))


def parse_unarmoured(body: str) -> SshSignature:
    """Return the signature in base64 alone: no armour, no line ends, no space.

    Raises:
        SignatureError: It is none.
    """
    if len(body) > LIMIT:
        raise _wrong("it is too long")
    try:
        blob = base64.b64decode(body.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("it is no base64") from None
    if not blob.startswith(_MAGIC + _VERSION):
        raise _wrong("it does not begin as one")
    public, namespace, reserved, digest, made = _texts(blob[len(_MAGIC) + len(_VERSION) :], 5)
    try:
        name = namespace.decode("ascii")
    except UnicodeDecodeError:
        raise _wrong("its namespace is no text") from None
    return SshSignature(public=public, namespace=name, reserved=reserved, digest=digest, made=made)


def _verify(public: bytes, made: bytes, data: bytes) -> None:
    """Return when the key made the signature of the data (raises InvalidSignature otherwise, and others)."""
    kind, *_ = _some(public)
    name, signature, rest = _head(made)
    if kind in (_SK_ED25519, _SK_ECDSA):
        # The security key signs what it was asked for, with its flags and its counter.
        if name != kind or len(rest) != _COUNTER:
            raise _wrong("its security key signed in a way that is not known")
        application = _texts(public, 3 if kind == _SK_ED25519 else 4)[-1]
        data = hashlib.sha256(application).digest() + rest + hashlib.sha256(data).digest()
    elif rest:
        raise _wrong("it has more than a signature")
    key = _public(public)
    if isinstance(key, rsa.RSAPublicKey):
        hashing = _RSA.get(name)
        if hashing is None:
            raise _wrong(f"it was made by {_shown(name)}")
        key.verify(signature.rjust(key.key_size // 8, b"\0"), data, padding.PKCS1v15(), hashing)
        return
    if name != kind:
        raise _wrong(f"a key of the kind {_shown(kind)} made one of the kind {_shown(name)}")
    if isinstance(key, Ed25519PublicKey):
        key.verify(signature, data)
    else:
        r, s = (_number(one) for one in _texts(signature, 2))
        key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(_CURVES[_curve(public)][1]))


@lru_cache(maxsize=256)
def _public(blob: bytes) -> _Public:
    """Return the key of its bytes (raises SignatureError, and ValueError for a point on no curve)."""
    kind, *_ = _some(blob)
    if kind == _ED25519:
        return Ed25519PublicKey.from_public_bytes(_texts(blob, 2)[1])
    if kind == _SK_ED25519:
        return Ed25519PublicKey.from_public_bytes(_texts(blob, 3)[1])
    if kind == b"ssh-rsa":
        e, n = (_number(one) for one in _texts(blob, 3)[1:])
        if not _WEAKEST_RSA <= n.bit_length() <= _STRONGEST_RSA:
            raise _wrong(f"its RSA key has {n.bit_length()} bits; {_WEAKEST_RSA} is the least")
        return rsa.RSAPublicNumbers(e, n).public_key()
    curve = _curve(blob)
    if kind not in (_SK_ECDSA, b"ecdsa-sha2-" + curve) or (kind == _SK_ECDSA and curve != b"nistp256"):
        raise _wrong(f"keys of the kind {_shown(kind)} are not known here")
    point = _texts(blob, 4 if kind == _SK_ECDSA else 3)[2]
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve][0], point)


def _curve(blob: bytes) -> bytes:
    found = _some(blob)
    if len(found) < 2 or found[1] not in _CURVES:  # noqa: PLR2004 - kind, curve
        raise _wrong(f"keys of the kind {_shown(found[0])} are not known here")
    return found[1]


def _some(blob: bytes) -> list[bytes]:
    """Return the first two texts of a key, or as many as there are."""
    first, rest = _cut(blob)
    return [first, _cut(rest)[0]] if rest else [first]


def _head(blob: bytes) -> tuple[bytes, bytes, bytes]:
    name, rest = _cut(blob)
    signature, rest = _cut(rest)
    return name, signature, rest


def _texts(blob: bytes, count: int) -> list[bytes]:
    """Return exactly so many texts, nothing behind them."""
    found = []
    for _ in range(count):
        one, blob = _cut(blob)
        found.append(one)
    if blob:
        raise _wrong("there is more in it than there should be")
    return found


def _cut(blob: bytes) -> tuple[bytes, bytes]:
    """Return the text a blob begins with (RFC 4251, section 5), and the rest."""
    end = _LENGTH + int.from_bytes(blob[:_LENGTH], "big")
    if len(blob) < _LENGTH or end > len(blob):
        raise _wrong("it ends too early")
    return blob[_LENGTH:end], blob[end:]


def _number(text: bytes) -> int:
    value = int.from_bytes(text, "big", signed=True)
    if value <= 0:
        raise _wrong("a number in it is not positive")
    return value


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH, "big") + data


def _shown(name: bytes) -> str:
    return ascii(name[:60].decode("latin-1"))


def _wrong(why: str) -> SignatureError:
    return SignatureError(why, hint="sign with ssh-keygen 8.9 or newer")
