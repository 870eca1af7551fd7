from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.definitions import load
from pipeline.adapters.tools import TOOLS
from pipeline.domain.approval_settings import ApprovalSettings, GitlabTable
from pipeline.domain.image import Tier
from pipeline.domain.settings import RegistrySettings, Settings
from pipeline.domain.tool import Family
from pipeline.domain.yamltext import Value, emit
from pipeline.verbs.approval_plan import SUBJECT
from pipeline.verbs.ci_render import CiLine, CiSettings, ci_render, lines_of

ROOT = Path(__file__).parents[2]
ALL = frozenset(Tier)
LOCAL = CiSettings(registry="127.0.0.1:5000/os", branch="pipeline-ledger")
OWN_MARK = "# ---- pipeline ci render ----\n"
RELEASE = tuple(
    f"{stage}:{tier}" for tier in ("upstream", "base", "instance") for stage in ("review", "approve", "seal")
)
NO_JOBS = {"stages", "workflow", "variables", "default"}


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, which YAML parsers otherwise let the last one win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def parse(text: str) -> dict[str, Any]:
    value = yaml.load(text, Loader=StrictLoader)
    assert isinstance(value, dict)
    return value


def jobs(text: str) -> dict[str, Any]:
    return {name: job for name, job in parse(text).items() if name not in NO_JOBS}


def two_lines(config: CiSettings = LOCAL, **more: Any) -> str:
    return ci_render(
        [CiLine(name="centos-stream10", tiers=ALL), CiLine(name="debian", tiers=ALL)], config, **more
    )


def test_one_job_for_each_tier_of_each_line_in_order() -> None:
    assert list(jobs(two_lines(tiers=tuple(Tier)))) == [
        f"{line}:{job}"
        for line in ("centos-stream10", "debian")
        for job in ("plan", "upstream", "pin", "base", "instance", *RELEASE)
    ]
    assert list(jobs(two_lines())) == list(jobs(two_lines(tiers=tuple(Tier))))


def test_each_job_needs_the_one_before_and_the_base_gets_the_pin() -> None:
    found = jobs(two_lines(tiers=tuple(Tier)))
    builds = {name: job for name, job in found.items() if name.startswith("debian") and name.count(":") == 1}
    assert {name: job.get("needs") for name, job in builds.items()} == {
        "debian:plan": None,
        "debian:upstream": [{"job": "debian:plan", "artifacts": False}],
        "debian:pin": [{"job": "debian:upstream", "artifacts": False}],
        "debian:base": [{"job": "debian:pin", "artifacts": True}],
        "debian:instance": [{"job": "debian:base", "artifacts": False}],
    }


def test_a_line_without_bases_needs_no_pin() -> None:
    text = ci_render([CiLine(name="plain", tiers=frozenset({Tier.UPSTREAM}))], LOCAL)
    assert list(jobs(text))[:2] == ["plain:plan", "plain:upstream"]
    assert not any("pin" in name.split(":") for name in jobs(text))


def test_jobs_call_pipeline() -> None:
    found = jobs(two_lines(tiers=tuple(Tier)))
    run = 'PIPELINE_RUN="ci-$CI_JOB_ID"'
    assert found["debian:upstream"]["script"][1:] == [f"{run} pipeline --line debian build --tier upstream"]
    assert found["debian:base"]["script"][1:] == [f"{run} pipeline --line debian build --tier base"]
    assert found["debian:instance"]["script"][1:] == [
        f"{run} pipeline --line debian build --tier instance --all"
    ]
    assert "pipeline --line debian pin --check" in found["debian:pin"]["script"][0]


def test_artifacts_are_kept_also_of_failures() -> None:
    found = jobs(two_lines())
    for name, job in found.items():
        assert job["artifacts"]["when"] == "always", name
        assert {".pipeline/logs/", ".pipeline/ci/"} <= set(job["artifacts"]["paths"]), name
    assert "images/debian/pins.toml" in found["debian:pin"]["artifacts"]["paths"]
    assert found["debian:plan"]["script"][0].endswith("> .pipeline/ci/plan.json")


def test_nothing_is_cached_or_retried_and_only_reading_jobs_may_be_ended() -> None:
    text = two_lines(tiers=tuple(Tier))
    document = parse(text)
    assert "cache:" not in text
    assert document["default"]["retry"] == 0
    assert document["variables"]["GIT_DEPTH"] == "0"
    endable = {name.split(":")[1] for name, job in jobs(text).items() if job["interruptible"]}
    assert endable == {"plan", "pin", "review"}


def test_every_stage_of_a_job_is_declared() -> None:
    text = two_lines(tiers=tuple(Tier))
    assert {job["stage"] for job in jobs(text).values()} == set(parse(text)["stages"])


def test_forks_build_nothing_and_own_merge_requests_only_what_they_touch() -> None:
    document = parse(two_lines())
    assert document["workflow"]["rules"][-1] == {"when": "never"}
    builds = {name: job for name, job in jobs(two_lines()).items() if name.count(":") == 1}
    for job in builds.values():
        branch, request = job["rules"]
        assert branch == {"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}
        assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_PATH == $CI_PROJECT_PATH" in request["if"]
        assert "images/pipeline.toml" in request["changes"]
    changes = jobs(two_lines())["debian:base"]["rules"][1]["changes"]
    assert not any("centos" in path for path in changes)


def test_releasing_is_never_done_for_a_merge_request_and_only_the_review_starts_by_itself() -> None:
    found = {name: job for name, job in jobs(two_lines()).items() if name.count(":") > 1}
    branch = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
    for name, job in found.items():
        by_hand = {"if": branch, "when": "manual", "allow_failure": True}
        assert job["rules"] == [{"if": branch} if ":review:" in name else by_hand], name


def test_the_review_hands_on_the_run_and_what_an_approval_would_be_of() -> None:
    found = jobs(two_lines())
    build, review = found["debian:base"], found["debian:review:base"]
    assert build["script"][0] == 'echo "PIPELINE_BUILT_RUN=ci-$CI_JOB_ID" > .pipeline/ci/handed-on.env'
    for job in (build, review):
        assert job["artifacts"]["reports"] == {"dotenv": ".pipeline/ci/handed-on.env"}
    assert review["needs"] == [{"job": "debian:base", "artifacts": True}]
    assert review["script"][0] == (
        'pipeline --line debian approve --run "$PIPELINE_BUILT_RUN" --dry-run --out .pipeline/ci'
    )
    for stage in ("approve", "seal"):
        assert found[f"debian:{stage}:base"]["needs"] == [{"job": "debian:review:base", "artifacts": True}]


def test_the_job_in_which_one_approves_is_protected_short_and_its_token_names_the_decision() -> None:
    job = jobs(two_lines())["debian:approve:instance"]
    assert job["environment"] == {"name": "release-approval"}
    assert job["timeout"] == "15m"  # GitLab's tokens live as long as the job may
    assert job["id_tokens"] == {
        "PIPELINE_APPROVAL_TOKEN": {"aud": f"bootc-pipeline:${SUBJECT}"},
    }
    assert job["variables"] == {"GIT_DEPTH": "0"}
    assert [line.split()[3] for line in job["script"]] == ["approve"]


def test_only_the_sealing_job_has_the_environment_of_the_release_key() -> None:
    found = jobs(two_lines())
    signing = {name for name, job in found.items() if job.get("environment") == {"name": "release-signing"}}
    assert signing == {name for name in found if ":seal:" in name}
    seal = found["debian:seal:base"]
    assert seal["variables"] == {"GIT_DEPTH": "0"}
    assert seal["script"][-1] == 'pipeline --line debian seal --run "$PIPELINE_BUILT_RUN"'
    assert "id_tokens" not in seal


def test_audience_and_environment_are_those_of_the_settings() -> None:
    plain = Settings(registry=RegistrySettings(url="localhost/os"))
    assert CiSettings.of(plain) == CiSettings(registry="localhost/os", branch="pipeline-ledger")
    tokens = GitlabTable(
        issuer="https://gitlab.example.org",
        audience="ours",
        projects=("os/images",),
        environments=("go", "no"),
    )
    told = CiSettings.of(plain.model_copy(update={"approval": ApprovalSettings(gitlab=tokens)}), "a.whl")
    assert (told.audience, told.environment, told.package) == ("ours", "go", "a.whl")
    job = jobs(two_lines(told))["debian:approve:base"]
    assert job["environment"] == {"name": "go"}
    assert job["id_tokens"]["PIPELINE_APPROVAL_TOKEN"]["aud"].startswith("ours:$")


def test_a_pin_that_could_be_newer_does_not_stop_the_build() -> None:
    assert jobs(two_lines())["debian:pin"]["allow_failure"] == {"exit_codes": [10]}


@pytest.mark.parametrize("registry", ["127.0.0.1:5000/os", "localhost/os", "[::1]:5000/os", "localhost:5000"])
def test_a_registry_on_this_machine_is_replaced_by_the_projects_own(registry: str) -> None:
    text = two_lines(CiSettings(registry=registry, branch="l"))
    assert parse(text)["variables"]["PIPELINE_REGISTRY"] == "$CI_REGISTRY_IMAGE"
    assert '"$CI_REGISTRY"' in parse(text)["default"]["before_script"][-2]


@pytest.mark.parametrize("registry", ["registry.example.org/os", "10.0.0.5:5000/os", "localhost.example.org"])
def test_any_other_registry_is_used_as_configured(registry: str) -> None:
    text = two_lines(CiSettings(registry=registry, branch="l"))
    assert "PIPELINE_REGISTRY" not in parse(text)["variables"]
    assert parse(text)["default"]["before_script"][-2].endswith(f" {registry.partition('/')[0]}; fi")
    assert f"login that may push to {registry}" in text


def test_no_package_name_is_assumed() -> None:
    assert "${PIPELINE_PACKAGE:?" in parse(two_lines())["default"]["before_script"][1]
    own = two_lines(CiSettings(registry="localhost/os", branch="l", package="./a b.whl"))
    assert parse(own)["default"]["before_script"][1].endswith("pip install './a b.whl'")


def test_credentials_do_not_stay_on_the_runner() -> None:
    after = parse(two_lines())["default"]["after_script"]
    assert "rm -f .pipeline/auth.json" in after
    assert 'git remote set-url --push origin "$CI_PROJECT_URL"' in after


def test_jobs_install_every_program_that_builds_a_tested_base() -> None:
    words = parse(two_lines())["default"]["before_script"][0].split()
    wanted = {"podman", "skopeo", "git", "mmdebstrap", "runc", "qemu-system-x86_64", "mke2fs", "ssh"}
    packages = {tool.packages[Family.APT] for tool in TOOLS if tool.program in wanted}
    assert len(packages) == len(wanted)
    assert packages <= set(words)


def test_same_lines_same_bytes() -> None:
    assert two_lines() == two_lines()


def test_the_repositorys_own_file_is_its_checks_and_what_is_rendered() -> None:
    catalogue = load(ROOT / "images")
    settings = CiSettings.of(catalogue.settings, package=".")
    text = (ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8")
    assert text.partition(OWN_MARK)[2] == ci_render(lines_of(catalogue), settings)
    found = jobs(text)
    assert list(found)[:2] == ["check", "test"]
    assert {"cpio", "e2fsprogs", "git", "make", "rpm"} <= set(found["check"]["before_script"][0].split())
    assert "debian:base" in found


keys = st.text(max_size=20) | st.sampled_from(["on", "No", "a:b", "a"])  # YAML allows a key 1024 characters
values: st.SearchStrategy[Value] = st.recursive(
    st.text()
    | st.integers()
    | st.booleans()
    | st.sampled_from(["yes", "1e3", "2026-01-01", "- a", "a: b", "~"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, min_size=1, max_size=5))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_what_is_emitted_is_read_back(value: dict[str, Value]) -> None:
    assert yaml.safe_load(emit(value)) == value
