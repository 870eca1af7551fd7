"""cosign as the signer of releases: a key in a file, a variable or a key service; many blobs, one start.

Rules: the key is named by what this module knows and nothing else, so that no setting can smuggle an option
into a command; cosign gets no more of the environment than the kind of key needs; blobs lie in a folder only
this user can read and are gone afterwards; nothing is uploaded and no transparency log is asked. Whether the
signatures are good is for the caller to check (`verbs.signing`).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from pipeline.adapters.process import Completed, Processes
from pipeline.domain.image import ImageRef
from pipeline.domain.signature import VerifyKey
from pipeline.domain.text import plain
from pipeline.errors import SignatureError, ToolFailedError

TOGETHER = 32
"""Blobs that one start of cosign signs before another start is worth its while."""

_VARIABLE = re.compile(r"env://([A-Za-z_][A-Za-z0-9_]{0,127})")
_SERVICE = re.compile(r"(awskms|gcpkms|azurekms|hashivault|k8s)://[A-Za-z0-9._~:/@%+=,\[\]-]{1,1000}")
_ENVIRONMENT = {
    "awskms": ("AWS_",),
    "gcpkms": ("GOOGLE_", "CLOUDSDK_", "GCE_"),
    "azurekms": ("AZURE_",),
    "hashivault": ("VAULT_", "TRANSIT_SECRET_ENGINE_PATH"),
    "k8s": ("KUBERNETES_", "KUBECONFIG"),
}
"""What the variables begin with that tell cosign how to reach a key service."""

_PASSWORD = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable
_PRIVATE = ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----")
_SECONDS = 120
_SECONDS_EACH = 15
_KINDS = (
    "name a file that `cosign generate-key-pair` made, env://VARIABLE, or a key service's URI (awskms://…)"
)


class CosignSigner:
    """Signs with one release key; a `verbs.signing.Signer`.

    Args:
        processes: The door to other programs.
        key: Path of an encrypted cosign key, `env://VARIABLE`, or a key service's URI.
        environment: The caller's; password and service logins are taken from it as the key needs them.
        program: Name or path of cosign, version 3.
        jobs: How many processors may work for it at once. cosign decrypts a key file anew for each blob,
            which is what takes the time, so that very many blobs are dealt to several starts.

    Raises:
        SignatureError: The key is named in no way that is known, or is not there.
    """

    def __init__(
        self,
        processes: Processes,
        key: str,
        *,
        environment: Mapping[str, str],
        program: str = "cosign",
        jobs: int = 1,
    ) -> None:
        self._processes = processes
        self._program = program
        self._jobs = max(1, jobs)
        self._name = key
        self._key, self._env = _located(key, environment)

    @cached_property
    def key(self) -> VerifyKey:
        """The public half, as cosign tells it; asked once.

        Raises:
            SignatureError: cosign cannot use the key.
            ToolMissingError: cosign is not installed.
        """
        done = self._run((self._program, "public-key", f"--key={self._key}"), _timeout(1))
        return VerifyKey.parse(f"the public key of {self._name}", done.stdout)

    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return the signature of each blob, in their order.

        One start of cosign signs up to `TOGETHER` of them; more are dealt evenly to at most `jobs` starts.

        Raises:
            SignatureError: cosign cannot use the key, or did not make one signature for each blob.
            ToolMissingError: cosign is not installed.
        """
        if not blobs:
            return ()
        with tempfile.TemporaryDirectory(prefix="pipeline-sign-") as folder:
            files = [Path(folder) / f"{number:06d}" for number in range(len(blobs))]
            for file, blob in zip(files, blobs, strict=True):
                file.write_bytes(blob)
            shares = _shares(files, min(self._jobs, math.ceil(len(files) / TOGETHER)))
            with ThreadPoolExecutor(len(shares)) as pool:
                return tuple(one for made in pool.map(self._signed, shares) for one in made)

    def _signed(self, files: Sequence[Path]) -> tuple[bytes, ...]:
        done = self._run(self.argv(files), _timeout(len(files)))
        made = tuple(filter(None, map(_decoded, done.stdout.split())))
        if len(made) != len(files):
            raise SignatureError(
                f"cosign was to sign {len(files)} texts and printed {len(made)} signatures",
                hint="see with `pipeline doctor` which cosign this is; version 3.0.4 or newer is needed",
            )
        return made

    def argv(self, files: Sequence[Path]) -> tuple[str, ...]:
        """Return the command that signs these files."""
        return (
            self._program,
            "sign-blob",
            f"--key={self._key}",
            "--tlog-upload=false",
            "--use-signing-config=false",
            "--new-bundle-format=false",
            "--yes",
            f"--timeout={_timeout(len(files))}s",
            *(str(file) for file in files),
        )

    def _run(self, argv: tuple[str, ...], timeout: int) -> Completed:
        done = self._processes.run(argv, check=False, timeout=timeout, env=self._env)
        if done.code == 0:
            return done
        raise SignatureError(
            f"cosign cannot use the key {plain(self._name, 200)}: {_reason(done.stderr)}",
            hint=self._hint(done.stderr),
        )

    def _hint(self, said: str) -> str:
        if "unknown flag" in said:
            return "this cosign is too old, or too new to sign in the form that hosts verify; take version 3"
        if _SERVICE.fullmatch(self._key):
            return "see that the key service is reached and its login is in the environment"
        return f"see that {_PASSWORD} is the password of this key, then run the same command again"


class Keyless:
    """Signs once more with the identity of a CI job, as further evidence; a `verbs.signing.FurtherSigner`.

    Hosts cannot check such signatures; a certificate authority and a transparency log, cosign's own defaults,
    are asked.

    Args:
        processes: The door to other programs.
        token: The job's identity token, for the audience `sigstore` (GitLab: SIGSTORE_ID_TOKEN).
        insecure: Registries (`host:port`) that speak plain HTTP.
        program: Name or path of cosign, version 3.
    """

    def __init__(
        self,
        processes: Processes,
        token: str,
        *,
        insecure: frozenset[str] = frozenset(),
        program: str = "cosign",
    ) -> None:
        self._processes = processes
        self._token = token
        self._insecure = insecure
        self._program = program

    def sign(self, refs: Sequence[ImageRef]) -> None:
        """Sign images of one registry, by digest, in one start of cosign.

        Raises:
            SignatureError: It did not work.
            ToolMissingError: cosign is not installed.
        """
        argv = self.argv(refs)
        env = {"SIGSTORE_ID_TOKEN": self._token}
        try:
            done = self._processes.run(argv, check=False, timeout=_timeout(len(refs)), env=env)
        except ToolFailedError as error:
            raise SignatureError(error.message, hint=_FURTHER) from error
        if done.code != 0:
            raise SignatureError(f"cosign did not sign without a key: {_reason(done.stderr)}", hint=_FURTHER)

    def argv(self, refs: Sequence[ImageRef]) -> tuple[str, ...]:
        """Return the command that signs these images."""
        plain_http = any(ref.repository.registry in self._insecure for ref in refs)
        return (
            self._program,
            "sign",
            "--yes",
            "--recursive",
            f"--timeout={_timeout(len(refs))}s",
            *(("--allow-http-registry=true",) if plain_http else ()),
            *(str(ref.repository.at(ref.pinned)) for ref in refs),
        )


_FURTHER = (
    "see the job's id_tokens (SIGSTORE_ID_TOKEN, audience sigstore), and whether Sigstore can be reached"
)


def _timeout(count: int) -> int:
    """Return after how many seconds cosign is no longer waited for."""
    return _SECONDS + _SECONDS_EACH * count


def _shares(files: Sequence[Path], count: int) -> list[Sequence[Path]]:
    """Deal files evenly, in their order."""
    size = math.ceil(len(files) / count)
    return [files[at : at + size] for at in range(0, len(files), size)]


def _located(key: str, environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the key as cosign is told it, and what it needs of the environment."""
    password = {name: environment[name] for name in (_PASSWORD,) if name in environment}
    if variable := _VARIABLE.fullmatch(key):
        if not environment.get(variable[1]):
            raise SignatureError(
                f"the signing key is to be in {variable[1]}, which is not set",
                hint="set it to the encrypted key",
            )
        return key, password | {variable[1]: environment[variable[1]]}
    if service := _SERVICE.fullmatch(key):
        begins = _ENVIRONMENT[service[1]]
        return key, {name: text for name, text in environment.items() if name.startswith(begins)}
    if "://" in key or any(ord(char) < ord(" ") for char in key):
        raise SignatureError(f"{plain(key, 120)!r} names no signing key", hint=_KINDS)
    return str(_file(Path(key))), password


def _file(path: Path) -> Path:
    """Return the absolute path of a key file that cosign can use."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise SignatureError(
            f"the signing key {plain(str(path), 200)} cannot be read: {plain(str(error), 200)}", hint=_KINDS
        ) from None
    if not text.lstrip().startswith(_PRIVATE):
        raise SignatureError(
            f"{plain(str(path), 200)} is no encrypted cosign key",
            hint="make one with `cosign generate-key-pair`, or import yours with `cosign import-key-pair`",
        )
    return path.absolute()


def _decoded(word: str) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _reason(said: str) -> str:
    """Return the line that tells why, cleaned; cosign prints warnings before it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found = next((line for line in lines if line.lower().startswith("error")), lines[-1] if lines else "")
    return plain(found, 300)
