"""Where people keep their registry logins: containers' auth.json, Docker's config.json, credential helpers.

Rules: files are read in the order the container tools read them, and the first that knows the registry wins;
an unreadable file is an error, no reason to go on anonymously; the parsing is docker's own (`docker.auth`),
to which containers' auth.json is close enough except for its keys with a path, which are matched here.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker.auth
from docker.errors import DockerException

from pipeline.adapters.tokens import Credentials
from pipeline.errors import RegistryError

_HINT = "mend or remove that file, or log in again with `podman login HOST`"


def login_files(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files that may hold logins, the most important first.

    Args:
        environment: The caller's environment; `REGISTRY_AUTH_FILE`, `XDG_RUNTIME_DIR`, `XDG_CONFIG_HOME`,
            `DOCKER_CONFIG` and `HOME` are looked at.
    """
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return (Path(named),)
    return tuple(_usual_files(environment))


def _usual_files(environment: Mapping[str, str]) -> Iterator[Path]:
    home = environment.get("HOME")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    if config := environment.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"):
        yield Path(config, "containers", "auth.json")
    if config := environment.get("DOCKER_CONFIG") or (home and f"{home}/.docker"):
        yield Path(config, "config.json")


def find_credentials(
    registry: str, *, files: Sequence[Path], environment: Mapping[str, str], path: str = ""
) -> Credentials | None:
    """Return the login for a registry, or None when no file has one.

    Args:
        registry: `host` or `host:port`.
        files: Files to look into, see `login_files`.
        environment: What credential helpers get as their environment.
        path: Repository path; a login for `registry/path` or a part of it goes before one for the registry.

    Raises:
        RegistryError: A file cannot be read or parsed, or a credential helper failed.
    """
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise RegistryError(f"the logins in {file} cannot be read: {error}", hint=_HINT) from error
        if found := _in_text(text, file, registry, path, environment):
            return found
    return None


def _in_text(
    text: str, file: Path, registry: str, path: str, environment: Mapping[str, str]
) -> Credentials | None:
    try:
        value = json.loads(text)
        auths = dict(value.get("auths", {}))
        if not (auths or value.get("credsStore") or value.get("credHelpers")):
            return None
        if key := _longest(auths, registry, path):
            value = {"auths": {registry: auths[key]}}
        else:
            # A login for one path must not be taken for the whole registry.
            value["auths"] = {name: entry for name, entry in auths.items() if not _has_path(name)}
        return _resolved(value, registry, environment)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DockerException) as error:
        # The text of a parse error may quote the secret: only its kind is told.
        kind = str(error) if isinstance(error, DockerException) else type(error).__name__
        raise RegistryError(f"the logins in {file} are not understood ({kind})", hint=_HINT) from None


def _resolved(value: dict[str, Any], registry: str, environment: Mapping[str, str]) -> Credentials | None:
    with warnings.catch_warnings():
        # A missing helper is warned about and then fails with the same words.
        warnings.simplefilter("ignore")
        config = docker.auth.load_config(config_dict=value, credstore_env=dict(environment))
        found = docker.auth.resolve_authconfig(config, registry, credstore_env=dict(environment))
    if not found:
        return None
    fields = {name.lower(): text for name, text in found.items() if isinstance(text, str)}
    credentials = Credentials(
        username=fields.get("username", ""),
        password=fields.get("password", ""),
        identity_token=fields.get("identitytoken", ""),
    )
    return credentials if credentials.username or credentials.identity_token else None


def _longest(auths: Mapping[str, Any], registry: str, path: str) -> str | None:
    """Return the most exact key with a path that covers the repository, as containers-auth.json(5) says."""
    parts = path.split("/") if path else []
    for count in range(len(parts), 0, -1):
        key = "/".join((registry, *parts[:count]))
        if key in auths:
            return key
    return None


def _has_path(key: str) -> bool:
    """Tell containers' `host/path` from Docker's `https://host/v1/`, which means the whole host."""
    host, _, path = key.partition("://")[2].partition("/") if "://" in key else key.partition("/")
    return bool(host and path.strip("/")) and path.strip("/") not in ("v1", "v2")
