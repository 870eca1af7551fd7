"""The GitLab jobs that release what a build job made: review, approve, seal, one of each for every tier.

Rules: the review runs by itself and hands on which run it looked at and what an approval would be of; people
start the other two. The job in which one approves runs in a protected environment, and its identity token is
made for what the review handed on and for nothing else; it is valid for as long as the job may take. Who
approves at a terminal with a key of their own does not need that job, so sealing does not wait for it: that
enough people approved is for `pipeline seal` to say, which refuses otherwise. Only the environment of the
sealing jobs has the release key. Nothing of this runs for a merge request.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.image import Tier
from pipeline.domain.yamltext import Value

STAGES = ("review", "approve", "seal")
"""Stages after all builds, in order."""

RUN = "PIPELINE_BUILT_RUN"
"""Variable that names the run of a build job to the jobs after it."""

SIGNING = "release-signing"
"""The environment to which the release key's variable is scoped."""

HEAD = """\
#   PIPELINE_RELEASE_KEY, COSIGN_PASSWORD
#                          the private key that releases are signed with (`cosign generate-key-pair`) and
#                          its password, both for the environment `{signing}` alone: no other job has them.
#   PIPELINE_GIT_KEY       of the type file, for that environment too: the SSH key that signs tags in git and
#                          the records of releases. Where [ledger.writers] lists `candidate`, the jobs that
#                          build need a key of their own under the same name.
#
# Releases: a person starts the job `approve`, then `seal`. Protect the environment `{approval}` and let
# those deploy to it who may approve ([approval.gitlab] and ci_identities in images/pipeline.toml on the
# protected branch say the same); where two have to, the second starts the job again. A reason can be given as
# the variable PIPELINE_WHY when the job is started. Who approves at a terminal leaves that job alone. A key
# in a key service needs cosign 3: set PIPELINE_CI_IMAGE to an image that has it."""

_OUT = ".pipeline/ci"
_WHY = '"${PIPELINE_WHY:-approved in $CI_JOB_URL}"'
_HANDED_ON = f"{_OUT}/handed-on.env"


def remember_run(command: str) -> list[str]:
    """Return the lines of a build job that make its run known to later jobs."""
    run = "ci-$CI_JOB_ID"
    return [f'echo "{RUN}={run}" > {_HANDED_ON}', f'PIPELINE_RUN="{run}" {command}']


def handed_on() -> Value:
    """Return the report by which a job hands variables on."""
    return {"dotenv": _HANDED_ON}


def release_jobs(
    line: str, tier: Tier, rule: str, artifacts: dict[str, Value], *, audience: str, environment: str
) -> dict[str, Value]:
    """Return the jobs that release one tier of a line.

    Args:
        line: The line's name.
        tier: The tier; its build job is `LINE:TIER`.
        rule: The condition under which the jobs are there.
        artifacts: What jobs keep.
        audience: What the audience of tokens begins with.
        environment: The protected environment in which people approve.
    """
    names = {stage: f"{line}:{stage}:{tier}" for stage in STAGES}
    reviewed: Value = [{"job": names["review"], "artifacts": True}]
    return {
        names["review"]: {
            "stage": "review",
            "interruptible": True,
            "rules": [{"if": rule}],
            "needs": [{"job": f"{line}:{tier}", "artifacts": True}],
            "script": _review(line),
            "artifacts": {**artifacts, "reports": handed_on()},
        },
        names["approve"]: {
            "stage": "approve",
            "interruptible": False,
            "timeout": "15m",
            "environment": {"name": environment},
            "id_tokens": {
                "PIPELINE_APPROVAL_TOKEN": {"aud": f"{audience}:$PIPELINE_APPROVAL_SUBJECT"},
            },
            "variables": {"GIT_DEPTH": "0"},
            "rules": _by_hand(rule),
            "needs": reviewed,
            "script": [f'pipeline --line {line} approve --run "${RUN}" --why={_WHY}'],
            "artifacts": artifacts,
        },
        names["seal"]: {
            "stage": "seal",
            "interruptible": False,
            "environment": {"name": SIGNING},
            "variables": {"GIT_DEPTH": "0"},
            "rules": _by_hand(rule),
            "needs": reviewed,
            "script": [
                f'pipeline --line {line} seal --run "${RUN}"',
            ],
            "artifacts": artifacts,
        },
    }


def _review(line: str) -> Sequence[Value]:
    call = f"pipeline --line {line}"
    page = f'"{_OUT}/$(basename "${{one%@*}}").html"'
    show = f'{call} review "$one" --html {page} < /dev/null'
    return [
        f'{call} approve --run "${RUN}" --dry-run --out {_OUT}',
        f"while read -r one; do {show}; done < {_OUT}/references.txt",
        f'cat {_OUT}/approval.env > {_HANDED_ON} && echo "{RUN}=${RUN}" >> {_HANDED_ON}',
    ]


def _by_hand(rule: str) -> Value:
    return [{"if": rule, "when": "manual", "allow_failure": True}]
