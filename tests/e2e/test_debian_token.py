"""A GitLab job approves the demo's hosts: with its identity token, made for what the review handed on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import Demo, command
from tokenkit import APPROVAL, Publisher, certificate, claims_for, jwks, publishing, serve, signed

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

RULES = """
[approval]
outsiders = [{outsiders}]
[approval.people]
ada = ["ada@example.org", "gitlab:ada"]
[approval.roles]
managers = ["ada"]
[approval.rules.instance]
people = [{{ at_least = 1, role = "managers" }}]
ci_identities = ["gitlab:ada"]
[approval.gitlab]
issuer = "{issuer}"
projects = ["os/images"]
environments = ["release-approval"]
users = {{ ada = 42 }}
"""
PERSON = ("-c", "user.name=demo", "-c", "user.email=demo@localhost")


@dataclass(frozen=True, kw_only=True)
class Project:
    """A copy of the demo's image repository, its GitLab, and the run that built its hosts."""

    folder: Path
    gitlab: Publisher
    trusted: Path
    run: str

    def job(self, *words: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `pipeline` as a job does."""
        done = subprocess.run(
            command("-q", *words),
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env={**os.environ, "CI": "true", "SSL_CERT_FILE": str(self.trusted), **variables},
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def approve(self, token: str, *words: str, code: int = 0) -> str:
        """Approve with a token; return what was said."""
        done = self.job("approve", *words, "--why=first", code=code, PIPELINE_APPROVAL_TOKEN=token)
        return done.stdout + done.stderr

    def token(self, subject: str, **changes: object) -> str:
        """What GitLab gives a job that Ada started just now."""
        now = int(time.time())
        times = {"iat": now, "nbf": now - 5, "exp": now + 900}
        ada = {"iss": self.gitlab.url, "user_login": "ada", "user_id": "42"}
        return signed(claims_for(APPROVAL, aud=f"bootc-pipeline:{subject}", **{**times, **ada, **changes}))


def records(folder: Path, kind: str) -> list[Any]:
    done = subprocess.run(command("--json", "log"), cwd=folder, capture_output=True, text=True, check=True)
    return [one for one in json.loads(done.stdout)["records"] if one["kind"] == kind]


@pytest.fixture
def project(demo: Demo, tmp_path: Path) -> Iterator[Project]:
    folder, trusted = tmp_path / "copy", certificate(tmp_path)
    shutil.copytree(demo.folder, folder, symlinks=True)
    (folder / "images/keys/allowed_signers").write_text("# nobody signs with a key here\n")
    host = [one for one in records(folder, "candidate") if one["tier"] == "instance"][-1]
    names = [host["builder"]["identity"], host["author"], "demo", "demo@localhost"]
    with serve(publishing(jwks()), trusted) as gitlab:
        outsiders = ", ".join(json.dumps(name) for name in dict.fromkeys(names))
        settings = folder / "images/pipeline.toml"
        settings.write_text(
            settings.read_text().partition("\n[approval]\n")[0]
            + RULES.format(outsiders=outsiders, issuer=gitlab.url)
        )
        for words in (("add", "images"), ("commit", "-qm", "Say who may approve in a job")):
            subprocess.run(["git", *PERSON, *words], cwd=folder, check=True)
        yield Project(folder=folder, gitlab=gitlab, trusted=trusted, run=host["run"])


def test_what_the_review_hands_on_is_what_a_job_approves_and_nothing_else(project: Project) -> None:
    project.job("approve", "--run", project.run, "--dry-run", "--out", ".pipeline/ci")
    handed_on = (project.folder / ".pipeline/ci/approval.env").read_text()
    name, _, subject = handed_on.strip().partition("=")
    assert name == "PIPELINE_APPROVAL_SUBJECT"
    references = (project.folder / ".pipeline/ci/references.txt").read_text().splitlines()
    assert records(project.folder, "approval") == []

    run = ("--run", project.run)
    assert "names no CI identity gitlab:eve" in project.approve(
        project.token(subject, user_login="eve", user_id="66"), *run, code=2
    )
    assert "user_id of ada '66', expected 42" in project.approve(
        project.token(subject, user_id="66"), *run, code=14
    )
    assert "its token has the aud 'bootc-pipeline:'" in project.approve(project.token(""), *run, code=14)
    image = references[0].partition("@")[0].rpartition("/")[2]
    if len(references) > 1:
        assert "its token has the aud" in project.approve(project.token(subject), f"debian/{image}", code=14)
    assert records(project.folder, "approval") == []

    project.approve(project.token(subject), *run)
    [approval] = records(project.folder, "approval")
    assert [f"{one['repository']}@{one['digest']}" for one in approval["decided"]] == references
    assert approval["proof"]["identity"] == "gitlab:ada"
    assert approval["proof"]["key"] == f"{project.gitlab.url}#42"
