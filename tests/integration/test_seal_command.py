"""`pipeline seal` as a person runs it: the command line, real cosign, a real registry and git remote."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from approvalworld import SETTINGS
from cosigntool import cosign_program, key_pair
from registries import RunningRegistry, running_registry
from sealworld import RULES, SealWorld

from pipeline.domain.image import Tier
from pipeline.domain.record import Candidate
from pipeline.domain.signature import VerifyKey
from pipeline.verbs.signing import read_signed

pytestmark = pytest.mark.engine
HEAD = """
[registry]
url = "{host}/os"
insecure = true
[signing]
key = "{key}"
release_keys = ["keys/release.pub"]
unsafe_none = {unsigned}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def world(tmp_path: Path, running: RunningRegistry) -> Iterator[SealWorld]:
    made = SealWorld(tmp_path, running.host, path=f"os{tmp_path.name.replace('_', '-').lower().strip('-')}")
    private, public = key_pair(tmp_path, "release")
    (made.images / "keys/release.pub").write_bytes(public.read_bytes())
    made.keys_trusted = (VerifyKey.parse("release.pub", public.read_text()),)
    configured(made, str(private))
    made.commit("what signs", "ada")
    made.push()
    yield made
    made.close()


def configured(world: SealWorld, key: str, unsigned: str = "false") -> None:
    head = HEAD.format(host=world.host, key=key, unsigned=unsigned)
    world.settings(head + SETTINGS.format(rule=RULES, more=""))


def run(world: SealWorld, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    tools = Path(cosign_program()).parent
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "--images", str(world.images), "-q", *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "COSIGN_PASSWORD": "",
            "GIT_CONFIG_GLOBAL": os.devnull,
            **environment,
        },
    )


def approved(world: SealWorld) -> Candidate:
    one = world.built("upstream", Tier.UPSTREAM)
    # The command line has a clock of its own.
    world.now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    world.agree(one)
    return one


def ref_of(one: Candidate) -> str:
    return f"{one.repository}@{one.digest}"


def test_a_plan_then_the_release_then_nothing(world: SealWorld) -> None:
    one = approved(world)
    key = str(world.keys / "dan")
    planned = run(world, "--json", "seal", ref_of(one), "--dry-run", "--git-key", key)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["plan"][0]["version"] == "1.0.0"
    assert world.seals() == []
    made = run(world, "seal", ref_of(one), PIPELINE_GIT_KEY=key)
    assert made.returncode == 0, made.stderr
    assert "debian/upstream" in made.stderr
    assert "debian/upstream/v1.0.0" in made.stdout
    [seal] = world.seals()
    found = read_signed(world.parts().signed, one.repository, one.digest, world.keys_trusted, seal.signatures)
    assert found.ok, found.problems
    assert set(found.attestations) == {"sbom", "provenance", "boot-test", "approval"}
    assert "Approved-by: ben@example.org, cleo@example.org" in world.verified("debian/upstream/v1.0.0")
    again = run(world, "--json", "seal", ref_of(one), "--git-key", key)
    assert again.returncode == 0, again.stderr
    data = json.loads(again.stdout)
    assert ([record["id"] for record in data["seals"]], data["new"]) == ([seal.id], [])
    assert len(world.seals()) == 1


def test_refusals_have_their_exit_codes_and_write_nothing(world: SealWorld) -> None:
    one = world.built("upstream", Tier.UPSTREAM)
    key = str(world.keys / "dan")
    refused = run(world, "seal", ref_of(one), "--git-key", key)
    assert refused.returncode == 1
    assert "approvals by people in the role 'managers': got none, expected 2" in refused.stderr
    assert "  -> " in refused.stderr
    ready = approved(world)
    keyless = run(world, "seal", ref_of(ready))
    assert keyless.returncode == 2
    assert "no SSH key is named to sign git tags with" in keyless.stderr
    version = run(world, "seal", ref_of(ready), "--git-key", key, "--version", "0.1.0")
    assert version.returncode == 1
    assert "lower than v1.0.0" in version.stderr
    configured(world, str(world.folder / "gone.key"))
    unsigned = run(world, "seal", ref_of(ready), "--git-key", key)
    assert unsigned.returncode == 14, unsigned.stderr
    assert world.names("upstream") == {}
    assert world.seals() == []


def test_no_signature_at_all_is_told_loudly(world: SealWorld) -> None:
    configured(world, "none.key", unsigned="true")
    one = approved(world)
    made = run(world, "seal", ref_of(one), "--unsafe-unsigned-tag")
    assert made.returncode == 0, made.stderr
    assert "UNSAFE: signing.unsafe_none = true" in made.stdout
    assert "UNSAFE: --unsafe-unsigned-tag is set" in made.stdout
    assert "UNSAFE" in made.stderr
    assert world.seals()[0].signatures == {}
