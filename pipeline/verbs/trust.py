"""Whom all images of the project trust: the registry and the public keys that the settings name."""

from __future__ import annotations

from pathlib import Path

from pipeline.domain.settings import Settings
from pipeline.domain.trust import Trust
from pipeline.errors import DefinitionError
from pipeline.problem import Problem

_PEM = "-----BEGIN PUBLIC KEY-----"


def read_trust(settings: Settings, images: Path) -> Trust:
    """Read the release keys that the settings name, files in the images folder.

    Raises:
        DefinitionError: One is missing or is no public key.
    """
    keys: dict[str, str] = {}
    problems: list[Problem] = []
    for index, name in enumerate(settings.signing.release_keys):
        path = images / name
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if path.name in keys:
            problems.append(
                Problem(
                    file=f"{images.name}/pipeline.toml",
                    line=None,
                    key=f"signing.release_keys.{index}",
                    message=f"{path.name} is the name of another release key too",
                    hint="give each key a file name of its own: images keep them all in one folder",
                )
            )
        elif not text.startswith(_PEM):
            problems.append(
                Problem(
                    file=f"{images.name}/pipeline.toml",
                    line=None,
                    key=f"signing.release_keys.{index}",
                    message=f"{path} {'is no PEM public key' if text else 'does not exist'}",
                    hint="make a key pair with `cosign generate-key-pair`, keep the private key out of the "
                    "repository and put cosign.pub there",
                )
            )
        keys[path.name] = text
    if problems:
        raise DefinitionError(tuple(problems))
    return Trust(registry=settings.registry.url, keys=keys, allow=settings.policy.allow)
