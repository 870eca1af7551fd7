"""`pipeline ci render`: the GitLab pipeline for the lines of an images folder.

Rules: jobs only call `pipeline`, one build for each tier of each line and the jobs that release what it made
(`ci_release`); nothing is cached and nothing is tried again; same lines, same bytes. The ledger is a branch,
so clones are whole (`GIT_DEPTH` 0). A job that writes to the registry or the ledger is never ended half-way
by a newer pipeline.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.catalogue import Catalogue
from pipeline.domain.image import Tier
from pipeline.domain.settings import Settings
from pipeline.domain.yamltext import Value, emit
from pipeline.errors import PinObsoleteError
from pipeline.verbs import ci_release

TIERS = (Tier.UPSTREAM, Tier.BASE, Tier.INSTANCE)
"""The tiers `pipeline build` makes, in order."""

_LOGS = ".pipeline/logs/"
_OUT = ".pipeline/ci"
_PACKAGES = (
    "ca-certificates", "e2fsprogs", "git", "mmdebstrap", "openssh-client", "podman", "python3-venv",
    "qemu-system-x86", "runc", "skopeo",
)  # fmt: skip
"""What a job installs; QEMU and mke2fs boot every base, after all of its modules were compiled."""

_DEFAULT_BRANCH = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
_MERGE_REQUEST = '$CI_PIPELINE_SOURCE == "merge_request_event"'
_OWN_MERGE_REQUEST = f"{_MERGE_REQUEST} && $CI_MERGE_REQUEST_SOURCE_PROJECT_PATH == $CI_PROJECT_PATH"

_HEAD = """\
# Written by `pipeline ci render`; write it anew when a line comes or goes.
#
# The runner: jobs build images, so they need one that may run podman as root (a privileged container or a
# machine of its own), tagged `image-builder`. Full builds run on every push to the default branch, on
# schedules and by hand; a merge request from this project builds the lines it touches, one from a fork none.
#
# CI/CD variables to set (masked, and protected where the default branch is):
{variables}
"""

_LEDGER = """\
#   PIPELINE_LEDGER_TOKEN  a project access token with `write_repository`: the ledger is pushed with it. Left
#                          out, the job's own token is used, which the project must allow under Settings,
#                          CI/CD, Job token permissions, "Allow Git push requests to the repository".
#                          Let nobody else push to the branch {branch}."""
_PACKAGE = """\
#   PIPELINE_PACKAGE       what pip installs `pipeline` from: the path or address of a wheel you trust. No
#                          package name is assumed, for names on a public index can be anybody's."""
_REGISTRY = """\
#   PIPELINE_REGISTRY_USER, PIPELINE_REGISTRY_PASSWORD
#                          login that may push to {registry}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CiLine:
    """A line as the CI sees it: its name and the tiers it has images of."""

    name: str
    tiers: frozenset[Tier]


@dataclass(frozen=True, slots=True, kw_only=True)
class CiSettings:
    """What the pipeline needs to know beside the lines.

    Attributes:
        registry: `host[:port][/prefix]`; one on this machine is replaced by the GitLab project's own.
        branch: The ledger's branch.
        package: What pip installs `pipeline` from; "" leaves it to the variable PIPELINE_PACKAGE.
        audience: What the audience of approvals' tokens begins with.
        environment: The protected environment in which people approve.
    """

    registry: str
    branch: str
    package: str = ""
    audience: str = "bootc-pipeline"
    environment: str = "release-approval"

    @classmethod
    def of(cls, settings: Settings, package: str = "") -> CiSettings:
        """Return what `images/pipeline.toml` says of it."""
        wanted = cls(registry=settings.registry.url, branch=settings.ledger.branch, package=package)
        tokens = settings.approval.gitlab
        if tokens is None:
            return wanted
        return dataclasses.replace(wanted, audience=tokens.audience, environment=tokens.environments[0])


def lines_of(catalogue: Catalogue) -> tuple[CiLine, ...]:
    """Return the lines of a catalogue as the CI sees them, by name."""
    return tuple(
        CiLine(name=name, tiers=frozenset(image.tier for image in line.images.values()))
        for name, line in sorted(catalogue.lines.items())
    )


def ci_render(lines: Sequence[CiLine], settings: CiSettings, *, tiers: Sequence[Tier] = TIERS) -> str:
    """Return the text of `.gitlab-ci.yml`.

    Args:
        lines: The lines to build.
        settings: Registry, ledger branch and where `pipeline` comes from.
        tiers: The tiers to make jobs for, in build order.
    """
    document: dict[str, Value] = {
        "stages": _stages(tiers),
        "workflow": _workflow(),
        "variables": _variables(settings),
        "default": _default(settings),
    }
    for line in lines:
        document |= _jobs(line, [tier for tier in tiers if tier in line.tiers], settings)
    return "\n".join([_head(settings), *(emit({key: value}) for key, value in document.items())])


def _head(settings: CiSettings) -> str:
    parts = [_LEDGER.format(branch=settings.branch)]
    if not settings.package:
        parts.append(_PACKAGE)
    if not _is_local(settings.registry):
        parts.append(_REGISTRY.format(registry=settings.registry))
    parts.append(ci_release.HEAD.format(signing=ci_release.SIGNING, approval=settings.environment))
    return _HEAD.format(variables="\n".join(parts))


def _stages(tiers: Sequence[Tier]) -> list[str]:
    builds = (stage for tier in tiers for stage in (["pin", tier] if tier is Tier.BASE else [tier]))
    return ["plan", *builds, *ci_release.STAGES]


def _workflow() -> Value:
    return {
        "auto_cancel": {"on_new_commit": "interruptible"},
        "rules": [
            {"if": _MERGE_REQUEST},
            {"if": _DEFAULT_BRANCH},
            {"when": "never"},
        ],
    }


def _variables(settings: CiSettings) -> dict[str, Value]:
    own: dict[str, Value] = {}
    if _is_local(settings.registry):
        own = {
            "PIPELINE_REGISTRY": "$CI_REGISTRY_IMAGE",
            "PIPELINE_REGISTRY_USER": "$CI_REGISTRY_USER",
            "PIPELINE_REGISTRY_PASSWORD": "$CI_REGISTRY_PASSWORD",
        }
    return {
        "PIPELINE_CI_IMAGE": "docker.io/library/debian:13",
        "GIT_DEPTH": "0",
        "GIT_STRATEGY": "clone",
        "REGISTRY_AUTH_FILE": "$CI_PROJECT_DIR/.pipeline/auth.json",
        **own,
    }


def _default(settings: CiSettings) -> Value:
    package = (
        shlex.quote(settings.package)
        if settings.package
        else '"${PIPELINE_PACKAGE:?set this CI/CD variable}"'
    )
    own = shlex.quote(settings.registry.partition("/")[0])
    host = '"$CI_REGISTRY"' if _is_local(settings.registry) else own
    remote = (
        'git remote set-url --push origin "${CI_SERVER_PROTOCOL}://pipeline:${PIPELINE_LEDGER_TOKEN:-$CI_JOB_TOKEN}'
        '@${CI_SERVER_HOST}:${CI_SERVER_PORT}/${CI_PROJECT_PATH}.git"'
    )
    login = (
        f'if [ -n "${{PIPELINE_REGISTRY_PASSWORD:-}}" ]; then printf %s "$PIPELINE_REGISTRY_PASSWORD"'
        f' | podman login --username "$PIPELINE_REGISTRY_USER" --password-stdin {host}; fi'
    )
    return {
        "image": "$PIPELINE_CI_IMAGE",
        "tags": ["image-builder"],
        "retry": 0,
        "timeout": "3h",
        "before_script": [
            f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(_PACKAGES)}",
            f"python3 -m venv .pipeline/venv && .pipeline/venv/bin/pip install {package}",
            'export PATH="$CI_PROJECT_DIR/.pipeline/venv/bin:$CI_PROJECT_DIR/.tools/bin:$PATH"',
            f"mkdir -p {_OUT}",
            # GitLab lets everybody read the files it makes of variables; ssh-keygen takes no such key.
            'if [ -n "${PIPELINE_GIT_KEY:-}" ]; then chmod 600 "$PIPELINE_GIT_KEY"; fi',
            remote,
            login,
            "pipeline doctor",
        ],
        "after_script": [
            # Tokens do not stay on the runner, and the records lie beside the logs they speak of.
            'git remote set-url --push origin "$CI_PROJECT_URL"',
            "rm -f .pipeline/auth.json",
            f"git archive --output={_OUT}/candidates.tar {shlex.quote(settings.branch)} || true",
        ],
    }


def _jobs(line: CiLine, tiers: Sequence[Tier], settings: CiSettings) -> dict[str, Value]:
    before = f"{line.name}:plan"
    jobs: dict[str, Value] = {before: _plan_job(line)}
    for tier in tiers:
        if tier is Tier.BASE:
            jobs[f"{line.name}:pin"] = _pin_job(line, before)
            before = f"{line.name}:pin"
        jobs[f"{line.name}:{tier}"] = _build_job(line, tier, before)
        before = f"{line.name}:{tier}"
    for tier in tiers:
        jobs |= ci_release.release_jobs(
            line.name,
            tier,
            _DEFAULT_BRANCH,
            _artifacts(line),
            audience=settings.audience,
            environment=settings.environment,
        )
    return jobs


def _plan_job(line: CiLine) -> Value:
    return {
        "stage": "plan",
        "interruptible": True,
        "rules": _rules(line),
        "script": [
            f"pipeline --line {line.name} --json plan > {_OUT}/plan.json",
            f"pipeline --line {line.name} plan",
        ],
        "artifacts": _artifacts(line),
    }


def _pin_job(line: CiLine, before: str) -> Value:
    """Return the job that asks whether the pin holds; without one it pins, and the base is built from that.

    A pin that could be newer is told and lets the pipeline go on; one that is gone ends it.
    """
    pins = _pins(line)
    run = f"pipeline --line {line.name} pin"
    return {
        "stage": "pin",
        "interruptible": True,
        "allow_failure": {"exit_codes": [PinObsoleteError.exit_code]},
        "rules": _rules(line),
        "needs": [{"job": before, "artifacts": False}],
        "script": [f"if [ -e {pins} ]; then {run} --check; else {run}; fi"],
        "artifacts": _artifacts(line, pins),
    }


def _build_job(line: CiLine, tier: Tier, before: str) -> Value:
    every = " --all" if tier is Tier.INSTANCE else ""
    return {
        "stage": tier.value,
        "interruptible": False,
        "rules": _rules(line),
        "needs": [{"job": before, "artifacts": tier is Tier.BASE}],
        "script": ci_release.remember_run(f"pipeline --line {line.name} build --tier {tier}{every}"),
        "artifacts": {**_artifacts(line, _pins(line)), "reports": ci_release.handed_on()},
    }


def _pins(line: CiLine) -> str:
    return f"images/{line.name}/pins.toml"


def _rules(line: CiLine) -> Value:
    touched = [f"images/{line.name}/**/*", "images/pipeline.toml", f"Containerfiles/{line.name}/**/*"]
    return [{"if": _DEFAULT_BRANCH}, {"if": _OWN_MERGE_REQUEST, "changes": [*touched, ".gitlab-ci.yml"]}]


def _artifacts(line: CiLine, *paths: str) -> dict[str, Value]:
    return {
        "name": f"{line.name}-$CI_JOB_NAME_SLUG-$CI_PIPELINE_ID",
        "when": "always",
        "expire_in": "1 year",
        "paths": [_LOGS, f"{_OUT}/", *paths],
    }


def _is_local(registry: str) -> bool:
    """Whether the registry is on the machine itself, where no runner reaches it."""
    host = registry.partition("/")[0]
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
