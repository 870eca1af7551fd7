"""A forged seal in a shared ledger, and what each verb of the command line says to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ledgers import git
from records import candidate, seal
from writersworld import TABLE, WritersWorld

from pipeline.domain.release import Seal

HEAD = """
[registry]
url = "127.0.0.1:1/os"
insecure = true
[signing]
release_keys = []
unsafe_none = true
[ledger]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> WritersWorld:
    made = WritersWorld(tmp_path_factory.mktemp("writers"), table=HEAD + TABLE)
    made.ledger("ci").append([candidate(1)])
    made.ledger("release").append([seal("1.0.0")])
    made.pushed(seal("1.0.1", 2))
    return made


def run(
    world: WritersWorld, *words: str, folder: str = "checkout", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "--images", str(world.folder / folder / "images"), "-q", *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={
            **{name: text for name, text in os.environ.items() if not name.startswith("PIPELINE_")},
            "GIT_CONFIG_GLOBAL": os.devnull,
            **environment,
        },
    )


def named(one: Seal) -> str:
    return f"{one.repository}@{one.digest}"


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("releases",),
        ("prune",),
        ("seal", named(seal("1.0.1", 2)), "--dry-run"),
        ("rollback", "base", "v1.0.0", "--why", "it is late", "--plan"),
        ("yank", "debian/base", "v1.0.0", "--why", "bad", "--dry-run"),
        ("verify", named(seal("1.0.0"))),
        ("reject", named(seal("1.0.0")), "--why", "no"),
    ],
)
def test_every_verb_that_relies_on_the_ledger_refuses_it(world: WritersWorld, words: tuple[str, ...]) -> None:
    done = run(world, *words)
    assert (done.returncode, done.stdout) == (12, ""), done.stderr
    for part in (
        "seal debian/base v1.0.1",
        "Eve",
        "it is not signed",
        "seal records are for release@",
        "since",
    ):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_the_log_shows_what_is_good_and_then_says_what_is_not(world: WritersWorld) -> None:
    done = run(world, "--json", "log")
    assert done.returncode == 12
    assert [one["kind"] for one in json.loads(done.stdout)["records"]] == ["candidate", "seal"]
    assert "v1.0.1" in done.stderr
    nothing = run(world, "log", "web-1")
    assert (nothing.returncode, nothing.stdout) == (12, "")


def test_a_verb_without_a_key_ends_before_it_works(tmp_path: Path) -> None:
    world = WritersWorld(tmp_path, table=HEAD + TABLE)
    world.ledger("ci").append([candidate(1)])
    words = ("seal", named(seal("1.0.0")))
    keyless = run(world, *words)
    assert keyless.returncode == 2
    assert "what this records has to be signed, and no SSH key is named" in keyless.stderr
    assert "PIPELINE_GIT_KEY" in keyless.stderr
    wrong = run(world, *words, PIPELINE_GIT_KEY=str(world.keys / "ci"))
    assert wrong.returncode == 14
    assert "signed by ci@example.org" in wrong.stderr
    build = run(world, "build", "--tier", "base")
    assert build.returncode == 2
    assert "candidate records are for ci@example.org" in build.stderr
    # What is in a checkout says nothing; what the protected branch says counts.
    git(world.top, "rm", "-q", "images/pipeline.toml")
    (world.top / "images/pipeline.toml").write_text(HEAD)
    assert run(world, *words).returncode == 2
