from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from records import digest
from signingkit import FastSigner

from pipeline.domain.image import Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, canonical, digest_of, parse
from pipeline.domain.policy import is_public_key
from pipeline.domain.rotation import why_not_trusted
from pipeline.domain.signature import (
    SIGNATURE,
    SIMPLE_SIGNING,
    VerifyKey,
    claim_fault,
    read_signature_manifest,
    signature_manifest,
    signature_tag,
    signed_by,
    simple_signing,
)
from pipeline.domain.trust import KEYS, POLICY, Trust, trust_files
from pipeline.errors import SignatureError

HOME = Repository(registry="registry.example.org:5000", path="os/debian/base")
OTHER = Repository(registry="registry.example.org:5000", path="os/debian/other")


def pem(key: object) -> str:
    public = key.public_key()  # type: ignore[attr-defined]
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def test_the_claim_is_in_the_bytes_that_cosign_writes() -> None:
    assert simple_signing(HOME, digest(1)) == (
        b'{"critical":{"identity":{"docker-reference":"registry.example.org:5000/os/debian/base"},'
        b'"image":{"docker-manifest-digest":"sha256:' + digest(1).hex.encode() + b'"},'
        b'"type":"cosign container image signature"},"optional":null}'
    )
    assert signature_tag(digest(1)) == f"sha256-{digest(1).hex}.sig"


def test_keys_of_the_kinds_that_hosts_check() -> None:
    data = b"what is signed"
    p256, p384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    big, ed = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
    made = {
        pem(p256): p256.sign(data, ec.ECDSA(SHA256())),
        pem(p384): p384.sign(data, ec.ECDSA(SHA256())),
        pem(big): big.sign(data, padding.PKCS1v15(), SHA256()),
        pem(ed): ed.sign(data),
    }
    keys = [VerifyKey.parse(f"key-{number}.pub", text) for number, text in enumerate(made)]
    for key, signature in zip(keys, made.values(), strict=True):
        assert signed_by(keys, data, signature) == key
        assert signed_by([key], data + b".", signature) is None
        assert not key.verifies(data, b"")
        assert not key.verifies(data, signature[:-1])
    # Hosts hash with SHA-256 whatever the curve; a signature over another hash would be refused there.
    assert not keys[1].verifies(data, p384.sign(data, ec.ECDSA(SHA384())))


def test_a_key_is_known_by_its_hash_and_spelled_in_one_way() -> None:
    text = pem(ec.generate_private_key(ec.SECP256R1()))
    key = VerifyKey.parse("a.pub", text)
    assert VerifyKey.parse("a.pub", "\n" + text.replace("\n", "\r\n") + "\n") == key
    assert key.fingerprint == f"SHA256:{key.hint.removesuffix('=')}"
    assert len(base64.b64decode(key.hint)) == 32
    assert str(key) == f"a.pub ({key.fingerprint})"
    assert is_public_key(key.pem.encode())


def test_what_is_no_public_key_is_refused_without_showing_it() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    one = pem(private)
    weak = pem(rsa.generate_private_key(65537, 1024))
    for text in (
        "", "no key", secret, one + one, one + secret, weak, pem(dsa.generate_private_key(2048)),
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ):  # fmt: skip
        with pytest.raises(SignatureError) as caught:
            VerifyKey.parse("wrong\x1b[31m.pub", text)
        assert "\x1b" not in caught.value.message
        assert secret.splitlines()[1] not in caught.value.message


def test_a_signature_manifest_is_read_as_it_was_written() -> None:
    signer, payload = FastSigner(), simple_signing(HOME, digest(1))
    (signature,) = signer.sign([payload])
    image = signature_manifest(payload, signature)
    (layer,) = read_signature_manifest(image.manifest)
    assert layer.signature == signature
    assert (layer.payload.digest, layer.payload.size) == (digest_of(payload), len(payload))
    parsed = parse(image.manifest)
    assert parsed.config.digest == digest_of(image.config)  # type: ignore[union-attr]
    assert json.loads(image.config)["rootfs"]["diff_ids"] == [digest_of(payload).value]
    assert signature_manifest(payload, signature) == image


def test_signatures_of_others_stay_as_they_are() -> None:
    payload = simple_signing(HOME, digest(1))
    theirs = {
        "mediaType": SIMPLE_SIGNING,
        "size": 3,
        "digest": digest(9).value,
        "annotations": {SIGNATURE: "AAAA", "dev.sigstore.cosign/certificate": "theirs"},
    }
    held = json.loads(signature_manifest(payload, b"x").manifest) | {"layers": [theirs]}
    made = signature_manifest(payload, b"ours", canonical(held))
    layers = json.loads(made.manifest)["layers"]
    assert layers[0] == theirs
    assert [one.signature for one in read_signature_manifest(made.manifest)] == [b"\x00\x00\x00", b"ours"]
    diff_ids = json.loads(made.config)["rootfs"]["diff_ids"]
    assert diff_ids == [digest(9).value, digest_of(payload).value]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}),
        canonical({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}),
    ],
)
def test_what_is_no_signature_manifest_is_told_and_never_added_to(data: bytes) -> None:
    with pytest.raises(SignatureError):
        read_signature_manifest(data)
    with pytest.raises(SignatureError):
        signature_manifest(b"{}", b"x", data)


def test_a_layer_without_a_signature_has_an_empty_one() -> None:
    held = json.loads(signature_manifest(b"{}", b"x").manifest)
    for noted in ({}, {SIGNATURE: "no base64!"}, {SIGNATURE: ""}):
        held["layers"][0]["annotations"] = noted
        assert [one.signature for one in read_signature_manifest(canonical(held))] == [b""]
    held["layers"][0]["mediaType"] = "application/octet-stream"
    assert read_signature_manifest(canonical(held)) == ()


def test_what_a_claim_is_wrong_in() -> None:
    assert claim_fault(simple_signing(HOME, digest(1)), HOME, digest(1)) == ""
    assert "another digest" in claim_fault(simple_signing(HOME, digest(2)), HOME, digest(1))
    assert "another repository" in claim_fault(simple_signing(OTHER, digest(1)), HOME, digest(1))
    claim = json.loads(simple_signing(HOME, digest(1)))
    claim["critical"]["type"] = "atomic container signature"
    assert "another type" in claim_fault(canonical(claim), HOME, digest(1))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner),
    )
)
def test_any_claim_that_is_none_is_a_fault(value: object) -> None:
    for claim in (
        value,
        {"critical": value},
        {"critical": {"image": value, "identity": value, "type": value}},
    ):
        assert claim_fault(canonical(claim), HOME, digest(1))


@given(st.binary(max_size=80))
def test_a_claim_may_be_any_bytes(data: bytes) -> None:
    assert claim_fault(data, HOME, digest(1))


class Release:
    """What a released image says about trust."""

    def __init__(self, *keys: VerifyKey, registry: str = "registry.example.org:5000/os") -> None:
        files = trust_files(Trust(registry=registry, keys={one.name: one.pem for one in keys}))
        self.policy = files[POLICY]
        self.keys = {path: data for path, data in files.items() if path.startswith(KEYS)}

    def why(self, key: VerifyKey, repository: Repository = HOME) -> str:
        return why_not_trusted(self.policy, self.keys, key, repository)


def test_a_new_key_is_trusted_one_release_before_it_signs() -> None:
    old, new = FastSigner("old.pub").key, FastSigner("new.pub").key
    before = Release(old)
    assert before.why(old) == ""
    assert f"trusts {KEYS}/old.pub ({old.fingerprint})" in before.why(new)
    between = Release(old, new)
    assert between.why(old) == between.why(new) == ""
    assert old.fingerprint not in Release(new).keys
    assert Release(new).why(old) != ""


def test_a_key_that_goes_by_another_name_is_the_same_key() -> None:
    key = FastSigner("release.pub").key
    assert Release(key).why(VerifyKey.parse("the signing key", key.pem)) == ""


def test_a_policy_that_does_not_ask_for_the_key_does_not_trust_it() -> None:
    key = FastSigner().key
    elsewhere = Repository(registry="other.example.org", path="os/debian/base")
    good = Release(key)
    assert "asks for reject" in good.why(key, elsewhere)
    cases = {
        "cannot be parsed": b"{",
        "asks for insecureAcceptAnything": b'{"default":[{"type":"insecureAcceptAnything"}]}',
        "compares tags": good.policy.replace(b"matchRepository", b"matchExact"),
    }
    for expected, policy in cases.items():
        assert expected in why_not_trusted(policy, good.keys, key, HOME)
    assert "not in the image" in why_not_trusted(good.policy, {}, key, HOME)
    assert "no public key" in why_not_trusted(good.policy, dict.fromkeys(good.keys, b"\xff"), key, HOME)


def test_a_key_inside_the_policy_counts() -> None:
    key = FastSigner().key
    policy = json.loads(Release(key).policy)
    (requirement,) = policy["transports"]["docker"]["registry.example.org:5000/os"]
    del requirement["keyPath"]
    requirement["keyData"] = base64.b64encode(key.pem.encode()).decode()
    assert why_not_trusted(canonical(policy), {}, key, HOME) == ""
    assert why_not_trusted(canonical(policy), {}, FastSigner().key, HOME) != ""
