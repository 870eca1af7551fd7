"""What signs releases, chosen by the key's name; cosign as the signer for key services and jobs' identities.

Rules: the key is named by what this module knows and nothing else, so that no setting can smuggle an option
into a command. A key in a file or a variable is opened here (`signing_key`), and no program is started. A key
service is asked by cosign, for many blobs in one start; cosign gets no more of the environment than that
service needs; blobs lie in a folder only this user can read and are gone afterwards; nothing is uploaded, and
no transparency log is asked. Whether the signatures are good is for the caller to check (`verbs.signing`).
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pipeline.adapters.process import Completed, Processes
from pipeline.adapters.signing_key import KEY_LIMIT, FileSigner
from pipeline.domain.image import ImageRef
from pipeline.domain.signature import VerifyKey
from pipeline.domain.text import plain
from pipeline.errors import SignatureError, ToolFailedError

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
_SECONDS = 120
_SECONDS_EACH = 15
_KINDS = (
    "name a file that `cosign generate-key-pair` made, env://VARIABLE, or a key service's URI (awskms://…)"
)


def signer_for(
    processes: Processes, key: str, *, environment: Mapping[str, str], program: str = "cosign"
) -> FileSigner | CosignSigner:
    """Return what signs with the release key of this name.

    Args:
        processes: The door to other programs.
        key: Path of an encrypted cosign key, `env://VARIABLE` that holds one, or a key service's URI.
        environment: The caller's; password and service logins are taken from it as the key needs them.
        program: Name or path of cosign, version 3; only key services need it.

    Raises:
        SignatureError: The key is named in no way that is known, is not there, or does not open.
    """
    password = environment.get(_PASSWORD, "").encode("utf-8", "surrogateescape")
    if variable := _VARIABLE.fullmatch(key):
        return FileSigner(key, _held(variable[1], environment), password)
    if "://" in key:
        return CosignSigner(processes, key, environment=environment, program=program)
    if any(ord(char) < ord(" ") for char in key):
        raise _unknown(key)
    return FileSigner(key, _read(Path(key)), password)


class CosignSigner:
    """Signs with a key that never leaves its service; a `verbs.signing.Signer`.

    Args:
        processes: The door to other programs.
        key: The key service's URI.
        environment: The caller's; the service's login is taken from it.
        program: Name or path of cosign, version 3.

    Raises:
        SignatureError: No key service that is known has such URIs.
    """

    def __init__(
        self, processes: Processes, key: str, *, environment: Mapping[str, str], program: str = "cosign"
    ) -> None:
        service = _SERVICE.fullmatch(key)
        if service is None:
            raise _unknown(key)
        begins = _ENVIRONMENT[service[1]]
        self._processes = processes
        self._program = program
        self._key = key
        self._env = {name: text for name, text in environment.items() if name.startswith(begins)}

    @cached_property
    def key(self) -> VerifyKey:
        """The public half, as cosign tells it; asked once.

        Raises:
            SignatureError: cosign cannot use the key.
            ToolMissingError: cosign is not installed.
        """
        done = self._run((self._program, "public-key", f"--key={self._key}"), _timeout(1))
        return VerifyKey.parse(f"the public key of {self._key}", done.stdout)

    def sign(self, blobs: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return the signature of each blob, in their order; one start of cosign for all of them.

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
            f"cosign cannot use the key {plain(self._key, 200)}: {_reason(done.stderr)}",
            hint=_hint(done.stderr),
        )


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


def _held(variable: str, environment: Mapping[str, str]) -> str:
    text = environment.get(variable)
    if not text:
        raise SignatureError(
            f"the signing key is to be in {variable}, which is not set", hint="set it to the encrypted key"
        )
    return text


def _read(path: Path) -> str:
    """Return what is in a key file; of a longer one more than a key may have, which is then refused."""
    try:
        with path.open("rb") as file:
            return file.read(KEY_LIMIT + 1).decode("ascii", "replace")
    except (OSError, ValueError) as error:
        raise SignatureError(
            f"the signing key {plain(str(path), 200)} cannot be read: {plain(str(error), 200)}", hint=_KINDS
        ) from None


def _unknown(key: str) -> SignatureError:
    return SignatureError(f"{plain(key, 120)!r} names no signing key", hint=_KINDS)


def _hint(said: str) -> str:
    if "unknown flag" in said:
        return "this cosign is too old, or too new to sign in the form that hosts verify; take version 3"
    if "unrecognized scheme" in said:
        return (
            "this cosign was built without that key service, as some distributions' are: "
            "take one that has it, or install its plugin (sigstore-kms-…)"
        )
    return "see that the key service is reached and its login is in the environment"


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
