from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pipeline.adapters.credentials import find_credentials, login_files
from pipeline.adapters.tokens import Credentials
from pipeline.errors import RegistryError


def entry(username: str, password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def logins(folder: Path, value: object, name: str = "auth.json") -> Path:
    file = folder / name
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def find(*files: Path, path: str = "", environment: dict[str, str] | None = None) -> Credentials | None:
    return find_credentials("registry.example", files=files, environment=environment or {}, path=path)


def test_the_usual_places_in_the_usual_order() -> None:
    assert login_files({"HOME": "/home/me", "XDG_RUNTIME_DIR": "/run/user/7"}) == (
        Path("/run/user/7/containers/auth.json"),
        Path("/home/me/.config/containers/auth.json"),
        Path("/home/me/.docker/config.json"),
    )
    assert login_files({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "DOCKER_CONFIG": "/d"}) == (
        Path("/c/containers/auth.json"),
        Path("/d/config.json"),
    )
    assert login_files({"HOME": "/h", "REGISTRY_AUTH_FILE": "/ci/auth.json"}) == (Path("/ci/auth.json"),)
    assert login_files({}) == ()


def test_the_first_file_that_knows_the_registry_wins(tmp_path: Path) -> None:
    other = logins(tmp_path, {"auths": {"other.example": entry("nobody")}}, "a")
    first = logins(tmp_path, {"auths": {"registry.example": entry("first", "pass:word")}}, "b")
    second = logins(tmp_path, {"auths": {"registry.example": entry("second")}}, "c")
    found = find(tmp_path / "missing", other, first, second)
    assert found == Credentials(username="first", password="pass:word")
    assert find(tmp_path / "missing", other) is None
    assert find(logins(tmp_path, {}, "d")) is None
    assert find(logins(tmp_path, {"auths": {"registry.example": {}}}, "e"), second) == find(second)


def test_the_longest_path_wins_and_a_path_is_not_the_whole_registry(tmp_path: Path) -> None:
    file = logins(
        tmp_path,
        {
            "auths": {
                "registry.example/team": entry("team"),
                "registry.example/team/app": entry("app"),
                "registry.example": entry("all"),
            }
        },
    )
    users = {
        path: getattr(find(file, path=path), "username", None)
        for path in ("team/app/image", "team/image", "teamster", "")
    }
    assert users == {"team/app/image": "app", "team/image": "team", "teamster": "all", "": "all"}
    only = logins(tmp_path, {"auths": {"registry.example/team": entry("team")}})
    assert find(only, path="elsewhere") is None
    docker = logins(tmp_path, {"auths": {"https://registry.example/v1/": entry("old")}})
    assert find(docker, path="any") == Credentials(username="old", password="secret")


def test_an_identity_token(tmp_path: Path) -> None:
    file = logins(tmp_path, {"auths": {"registry.example": {"identitytoken": "long"}}})
    assert find(file) == Credentials(identity_token="long")


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\nprintf \'{"Username":"%s","Secret":"s"}\' "$host"\n')
    helper.chmod(0o755)
    file = logins(tmp_path, {"credHelpers": {"registry.example": "test"}})
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert find(file) == Credentials(username="registry.example", password="s")


def test_a_missing_helper_is_an_error(tmp_path: Path) -> None:
    file = logins(tmp_path, {"credsStore": "nowhere"})
    with pytest.raises(RegistryError, match="docker-credential-nowhere not installed"):
        find(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{",
        '{"auths": 7}',
        '{"auths": {"registry.example": 7}}',
        '{"auths": {"registry.example": {"auth": 7}}}',
        '{"auths": {"registry.example": {"auth": "hunter2"}}}',
        '{"auths": {"registry.example": {"auth": "aHVudGVyMg=="}}}',
        '{"auths": {"registry.example": {"auth": "/////w=="}}}',
        "[" * 100_000,
    ],
)
def test_a_broken_file_is_named_and_its_secrets_are_not(tmp_path: Path, text: str) -> None:
    file = logins(tmp_path, text)
    with pytest.raises(RegistryError, match="not understood") as caught:
        find(file)
    assert str(file) in caught.value.message
    assert "hunter2" not in caught.value.message


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        find(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(RegistryError, match="cannot be read"):
        find(tmp_path / "bytes")
