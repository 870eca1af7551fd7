"""Which signer a key's name asks for, and cosign as the signer for key services and jobs' identities.

The key service is a real one to cosign: a plugin, the way by which cosign reaches services it does not know.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest
from cosigntool import cosign_program, key_pair
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from memoryregistry import memory_registry
from records import NOON
from signingkit import Recording, signer_on

from images import push, tiny_image
from pipeline.adapters.process import Processes
from pipeline.adapters.referrers import Referrers, SignedStore
from pipeline.adapters.registry import Registry
from pipeline.adapters.signer import CosignSigner, Keyless, signer_for
from pipeline.adapters.signing_key import KEY_LIMIT, FileSigner
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import OCI_MANIFEST, Descriptor
from pipeline.errors import SignatureError, ToolMissingError
from pipeline.verbs.signing import SignOrder, sign_images

pytestmark = pytest.mark.engine
SERVICE = "hashivault://release"

PLUGIN = """\
#!{python}
import base64, json, pathlib, sys
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

folder, asked, blob = pathlib.Path({folder!r}), json.loads(sys.argv[2]), sys.stdin.buffer.read()
def code(data):
    return base64.b64encode(data).decode()
if asked["methodName"] == "publicKey":
    answer = {{"publicKeyPEM": code((folder / "service.pub").read_bytes())}}
else:
    key = load_pem_private_key((folder / "service.key").read_bytes(), None)
    answer = {{"signature": code(key.sign(blob, ec.ECDSA(SHA256())))}}
print(json.dumps({{asked["methodName"]: answer}}))
"""


def program(folder: Path, text: str) -> str:
    """Write a program that stands in for cosign."""
    path = folder / "cosign"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def service(folder: Path) -> Recording:
    """Install a key service with a key of its own; return what starts programs that find it."""
    private = ec.generate_private_key(ec.SECP256R1())
    (folder / "service.key").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (folder / "service.pub").write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    plugin = folder / "sigstore-kms-hashivault"
    plugin.write_text(PLUGIN.format(python=sys.executable, folder=str(folder)))
    plugin.chmod(0o755)
    return Recording({**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"})


# --- which signer ----------------------------------------------------------------------------------------


def test_a_key_in_a_file_or_a_variable_is_opened_here_and_no_program_is_needed(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "release")
    processes = Recording()
    environment = {"COSIGN_PASSWORD": "", "RELEASE_KEY": private.read_text()}
    for name in (str(private), "env://RELEASE_KEY"):
        signer = signer_for(processes, name, environment=environment, program="no-such-cosign")
        assert isinstance(signer, FileSigner)
        assert signer.key.pem == public.read_text()
        (signature,) = signer.sign([b"a claim"])
        assert signer.key.verifies(b"a claim", signature)
    assert processes.started == []


def test_a_missing_password_is_an_empty_one(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path, "release")
    assert signer_for(Recording(), str(private), environment={}).key.pem == public.read_text()


@pytest.mark.parametrize(
    "key",
    [
        "", "-", "--key=x", "env://", "env://A B", "env://NOT_SET", "env://A\n", "https://example.org/key",
        "awskms://", "awskms://a b", "awskms://a;b", "awskms://a\n--yes", "hashivault://$(id)", "pkcs11://x",
        "gcpkms://a'b", "/no/such/key", "release\x00.key", "file:///etc/passwd", "/etc/hostname", "/dev/zero",
        "env://A", "/etc", "/etc/passwd\n",
    ],
)  # fmt: skip
def test_a_key_that_is_named_in_no_known_way_is_refused(key: str) -> None:
    with pytest.raises(SignatureError) as caught:
        signer_for(Processes(environment={}), key, environment={"A": "x"})
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_a_key_that_is_not_encrypted_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain.key"
    plain.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(SignatureError, match="no encrypted cosign key") as caught:
        signer_on(str(plain))
    assert "import-key-pair" in caught.value.hint


def test_a_file_that_is_no_key_is_not_read_to_its_end(tmp_path: Path) -> None:
    private, _ = key_pair(tmp_path, "release")
    with private.open("a") as file:
        file.write("\n" * KEY_LIMIT)
    with pytest.raises(SignatureError, match="no encrypted cosign key"):
        signer_on(str(private))


def test_a_key_file_is_never_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = key_pair(tmp_path, "release")
    monkeypatch.chdir(tmp_path)
    private.rename("--help")
    assert signer_on("--help").key.pem == public.read_text()


# --- key services ----------------------------------------------------------------------------------------


def test_a_key_service_signs_many_blobs_in_one_start_of_cosign(tmp_path: Path) -> None:
    processes = service(tmp_path)
    signer = signer_on(SERVICE, processes=processes)
    assert signer.key.pem == (tmp_path / "service.pub").read_text()
    processes.started.clear()
    blobs = [b"", b"\x00\xff", b"x" * 300_000, "é\n".encode()]
    made = signer.sign(blobs)
    assert [argv[1] for argv in processes.started] == ["sign-blob"]
    assert [signer.key.verifies(blob, one) for blob, one in zip(blobs, made, strict=True)] == [True] * 4
    assert not signer.key.verifies(blobs[0], made[1])
    assert signer.sign([]) == ()
    assert len(processes.started) == 1


def test_a_key_service_that_says_no_is_told(tmp_path: Path) -> None:
    processes = service(tmp_path)
    (tmp_path / "service.key").unlink()
    with pytest.raises(SignatureError, match="cosign cannot use the key hashivault://release") as caught:
        signer_on(SERVICE, processes=processes).sign([b"one"])
    assert "key service" in caught.value.hint


def test_a_cosign_that_was_built_without_a_key_service_is_told(tmp_path: Path) -> None:
    lean = program(tmp_path, "echo 'Error: loading URL: unrecognized scheme: hashivault://' >&2; exit 1")
    with pytest.raises(SignatureError, match="unrecognized scheme") as caught:
        CosignSigner(Recording(), SERVICE, environment={}, program=lean).sign([b"one"])
    assert "sigstore-kms-" in caught.value.hint


def test_very_many_blobs_are_one_start_in_their_order(tmp_path: Path) -> None:
    # The stand-in prints the content of each file as if it were its signature.
    shown = program(
        tmp_path, 'for file; do case "$file" in -*|sign-blob) ;; *) base64 -w0 "$file"; echo;; esac; done'
    )
    processes = Recording()
    blobs = [f"blob {number}".encode() for number in range(300)]
    assert CosignSigner(processes, SERVICE, environment={}, program=shown).sign(blobs) == tuple(blobs)
    assert len(processes.started) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo AAAA; echo BBBB", "printed 2 signatures"),
        ("exit 0", "printed 0 signatures"),
        ("echo 'no base64!'", "printed 0 signatures"),
        ("echo 'WARNING: x' >&2; printf 'error: \\033[31mlost\\n' >&2; exit 1", r"error: \\x1b\[31mlost"),
    ],
)
def test_a_cosign_that_is_broken_is_told(tmp_path: Path, text: str, why: str) -> None:
    broken = CosignSigner(Recording(), SERVICE, environment={}, program=program(tmp_path, text))
    with pytest.raises(SignatureError, match=why):
        broken.sign([b"one"])


def test_a_cosign_without_the_options_is_told(tmp_path: Path) -> None:
    newer = program(tmp_path, "echo 'Error: unknown flag: --tlog-upload' >&2; exit 1")
    signer = CosignSigner(Processes(environment={}), SERVICE, environment={}, program=newer)
    with pytest.raises(SignatureError, match="unknown flag") as caught:
        signer.sign([b"one"])
    assert "version 3" in caught.value.hint


def test_a_missing_cosign_is_told() -> None:
    missing = CosignSigner(Recording(), SERVICE, environment={}, program="no-such-cosign")
    with pytest.raises(ToolMissingError):
        missing.sign([b"one"])


def test_a_service_that_signs_with_another_key_pushes_nothing(tmp_path: Path) -> None:
    stranger, _ = key_pair(tmp_path, "stranger")
    _, public = key_pair(tmp_path, "release")
    other = f'exec env COSIGN_PASSWORD= {cosign_program()} sign-blob --key={stranger} "$@"'
    lying = CosignSigner(
        Recording(),
        SERVICE,
        environment={},
        program=program(tmp_path, f'[ "$1" = public-key ] && exec cat {public}\nshift 2\n{other}'),
    )
    with memory_registry() as running:
        registry = Registry(running.host, insecure=True)
        store = SignedStore(registry, Referrers(registry, jitter=random.Random(1).random, pause=time.sleep))
        repository, image = Repository(registry=running.host, path="os/base"), tiny_image()
        push(registry, repository, image)
        subject = Descriptor(media_type=OCI_MANIFEST, digest=image.digest, size=len(image.manifest))
        order = SignOrder(repository=repository, subject=subject, created=NOON)
        with pytest.raises(SignatureError, match="nothing was pushed"):
            sign_images([order], lying, store)
        assert (running.tags, len(running.manifests)) == ({}, 1)
        registry.close()


def test_what_cosign_is_told() -> None:
    signer = CosignSigner(Processes(environment={}), SERVICE, environment={})
    assert signer.argv([Path("/tmp/a/000000"), Path("/tmp/a/000001")]) == (
        "cosign",
        "sign-blob",
        "--key=hashivault://release",
        "--tlog-upload=false",
        "--use-signing-config=false",
        "--new-bundle-format=false",
        "--yes",
        "--timeout=150s",
        "/tmp/a/000000",
        "/tmp/a/000001",
    )


def test_cosign_is_given_only_what_its_key_needs(tmp_path: Path) -> None:
    shown = program(tmp_path, "env >&2; exit 1")
    everything = {
        "COSIGN_PASSWORD": "p", "VAULT_TOKEN": "v", "AWS_REGION": "a", "AZURE_TENANT_ID": "z",
        "GOOGLE_APPLICATION_CREDENTIALS": "g", "KUBECONFIG": "k", "KEY": "x", "SECRET": "s",
    }  # fmt: skip
    expected = {
        "hashivault://release": {"VAULT_TOKEN"},
        "awskms:///alias/release": {"AWS_REGION"},
        "azurekms://vault.example.org/release": {"AZURE_TENANT_ID"},
        "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/1": {
            "GOOGLE_APPLICATION_CREDENTIALS"
        },
        "k8s://releases/key": {"KUBECONFIG"},
    }
    for key, names in expected.items():
        processes = Recording()
        signer = signer_for(processes, key, environment=everything, program=shown)
        with pytest.raises(SignatureError):
            signer.sign([b"one"])
        assert processes.given == [{name: everything[name] for name in names}]


# --- without a key ---------------------------------------------------------------------------------------


REFS = tuple(
    Repository(registry=host, path="os/base").at(Digest("sha256:" + "1" * 64))
    for host in ("registry.example.org", "127.0.0.1:5000")
)


def test_without_a_key_cosign_is_given_the_job_s_token(tmp_path: Path) -> None:
    processes = Recording()
    keyless = Keyless(
        processes, "token", insecure=frozenset({"127.0.0.1:5000"}), program=program(tmp_path, "exit 0")
    )
    keyless.sign(REFS[:1])
    keyless.sign(REFS[1:])
    first, second = (argv[1:] for argv in processes.started)
    assert first == ("sign", "--yes", "--recursive", "--timeout=135s", str(REFS[0]))
    assert second == (
        "sign",
        "--yes",
        "--recursive",
        "--timeout=135s",
        "--allow-http-registry=true",
        str(REFS[1]),
    )
    assert processes.given == [{"SIGSTORE_ID_TOKEN": "token"}] * 2
    assert not any("token" in word for argv in processes.started for word in argv)


def test_a_signature_without_a_key_that_fails_is_told(tmp_path: Path) -> None:
    keyless = Keyless(
        Processes(environment=os.environ),
        "t",
        program=program(tmp_path, "echo 'Error: no fulcio' >&2; exit 1"),
    )
    with pytest.raises(SignatureError, match="no fulcio") as caught:
        keyless.sign(REFS[:1])
    assert "SIGSTORE_ID_TOKEN" in caught.value.hint
