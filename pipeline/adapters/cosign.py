"""cosign, as far as a build needs it: whether a vendor's key signed the image that is about to be mirrored.

Rules: only the signature is asked for, never a bundle: once any attestation bundle lies on a digest, plain
`cosign verify` takes it for a signature, so `--new-bundle-format=false` is always given; the digest is named,
never a tag; the key is a file, so a definition cannot send cosign to a key service.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters.process import Processes
from pipeline.domain.image import ImageRef
from pipeline.errors import SignatureError, ToolFailedError

_TIMEOUT = 300.0


class Cosign:
    """Verifies signatures.

    Args:
        processes: The door to other programs.
        insecure: Registries (`host:port`) that speak plain HTTP.
        program: Name or path of cosign, version 3.
    """

    def __init__(
        self, processes: Processes, *, insecure: frozenset[str] = frozenset(), program: str = "cosign"
    ) -> None:
        self._processes = processes
        self._insecure = insecure
        self._program = program

    def verify_vendor(self, ref: ImageRef, key: Path) -> None:
        """Return if the key signed this digest.

        Args:
            ref: The image, by digest.
            key: PEM file of the vendor's public key.

        Raises:
            SignatureError: No signature, or none by this key; or there is no such key file.
            ToolMissingError: cosign is not installed.
            ToolFailedError: cosign failed for another reason, such as a registry that does not answer.
        """
        if not key.is_file():
            raise SignatureError(
                f"the key {key} that {ref.repository} must be signed with is no file",
                hint="put the vendor's public key there, or name the right file in the definition",
            )
        argv = self.argv(ref, key)
        done = self._processes.run(argv, check=False, timeout=_TIMEOUT)
        if done.code == 0:
            return
        tail = done.stderr.strip()[-2000:]
        if _is_no(tail):
            raise SignatureError(
                f"{ref} is not signed by {key}: {_reason(tail)}",
                hint="do not use this image; ask its vendor, or take the vendor's new key if there is one",
            )
        raise ToolFailedError(
            f"cosign ended with code {done.code} while it verified {ref}: {_reason(tail)}",
            hint="check the registry and the login, then run the same command again",
            argv=argv,
            code=done.code,
            tail=tail,
        )

    def argv(self, ref: ImageRef, key: Path) -> tuple[str, ...]:
        """Return the command of one verification."""
        plain = ref.repository.registry in self._insecure
        return (
            self._program,
            "verify",
            f"--key={key.absolute()}",
            "--insecure-ignore-tlog=true",
            "--new-bundle-format=false",
            *(("--allow-http-registry=true",) if plain else ()),
            "--output=json",
            str(ref.repository.at(ref.pinned)),
        )


def _is_no(said: str) -> bool:
    return "no matching signatures" in said or "no signatures found" in said


def _reason(said: str) -> str:
    """Return the line that tells why, cleaned; cosign prints warnings before it and advice after it."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    found = next((line for line in lines if line.lower().startswith("error")), lines[0] if lines else "")
    return "".join(char for char in found if char.isprintable())[:300]
