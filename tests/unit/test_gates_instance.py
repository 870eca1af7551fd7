"""What the gates on a host's configuration make of what the programs say; the words are recorded ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from subjects import subject
from trees import Content, Link

from pipeline.domain.gate import CommandResult, Finding, Verdict
from pipeline.domain.gates import instance, pulls
from pipeline.domain.image import Tier

WEB = "/etc/containers/systemd/users/2001/web.container"
RULES = {gate.name: gate.rule for gate in instance.GATES}
POLICY = """{"default": [{"type": "reject"}], "transports": {"docker": {
  "quay.io": [{"type": "insecureAcceptAnything"}],
  "own.example/os": [
    {"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "matchRepository"}}
  ]
}}}"""


class Programs:
    """An `Inside` whose programs answer from a table by a word of their arguments; others are missing."""

    def __init__(self, answers: Mapping[str, tuple[int, str, str]]) -> None:
        self.asked: list[tuple[str, ...]] = []
        self._answers = answers

    def __call__(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        self.asked.append(tuple(argv))
        for word, (code, out, err) in self._answers.items():
            if any(word in one for one in argv):
                return CommandResult(code=code, stdout=out, stderr=err)
        return CommandResult(code=127, stdout="", stderr="no such program")


def ask(
    gate: str,
    contents: Mapping[str, Content],
    answers: Mapping[str, tuple[int, str, str]],
    own: frozenset[str] | None = frozenset(),
) -> Finding:
    made = subject(contents, tier=Tier.INSTANCE, inside=Programs(answers))
    return RULES[gate](dataclasses.replace(made, own=own))


@pytest.mark.parametrize("gate", [name for name in RULES if name != "quadlets"])
def test_a_program_the_image_lacks_is_a_pass_that_says_so(gate: str) -> None:
    found = ask(gate, {"/etc/containers/policy.json": POLICY}, {})
    assert found.verdict is Verdict.PASS
    assert "the image has no /usr/" in found.summary


def test_quadlets_without_podman_fail() -> None:
    assert ask("quadlets", {WEB: "[Container]"}, {}).details == (WEB,)
    assert ask("quadlets", {WEB: "[Container]"}, {}).verdict is Verdict.FAIL
    assert ask("quadlets", {}, {}).verdict is Verdict.PASS


GENERATOR: dict[str, Content] = {instance.GENERATOR: "", WEB: "[Container]"}


def test_each_quadlet_must_become_a_service() -> None:
    good = (0, f"---web.service---\nSourcePath={WEB}\n", "quadlet-generator[1]: Loading source unit file x")
    assert ask("quadlets", GENERATOR, {"QUADLET_UNIT_DIRS": good}).verdict is Verdict.PASS
    silent = ask("quadlets", GENERATOR, {"QUADLET_UNIT_DIRS": (0, "", "")})
    assert silent.verdict is Verdict.FAIL
    assert WEB in silent.details[0]
    bad = (1, "", "converting \"web.container\": unsupported key 'Imag'")
    refused = ask("quadlets", GENERATOR, {"QUADLET_UNIT_DIRS": bad})
    assert "unsupported key 'Imag'" in refused.details[1]


def test_quadlets_of_a_user_without_number_are_read_for_nobody() -> None:
    found = ask("quadlets", {instance.GENERATOR: "", "/etc/containers/systemd/users/web/x.container": ""}, {})
    assert "no user id" in found.details[0]


def test_quadlets_of_all_users_are_asked_about_as_well() -> None:
    path = "/etc/containers/systemd/users/all.container"
    programs = Programs({"QUADLET_UNIT_DIRS": (0, f"SourcePath={path}\n", "")})
    made = subject({instance.GENERATOR: "", path: ""}, tier=Tier.INSTANCE, inside=programs)
    assert RULES["quadlets"](made).verdict is Verdict.PASS
    assert programs.asked[0][1] == "QUADLET_UNIT_DIRS=/etc/containers/systemd/users"


def test_a_generator_that_cannot_run_is_no_pass() -> None:
    assert ask("quadlets", GENERATOR, {}).verdict is Verdict.UNCHECKED


UNITS: dict[str, Content] = {
    "/usr/bin/systemd-analyze": "",
    "/usr/lib/systemd/system/app.service": "[Service]",
    "/usr/lib/systemd/system/multi-user.target.wants/app.service": Link("../app.service"),
    "/usr/lib/systemd/system/ssh.service.d/50.conf": "[Service]",
    "/etc/systemd/system/cron.service": Link("/dev/null"),
    "/etc/systemd/system/timers.target.wants/cron.service": Link("../cron.service"),
}
UNIT_PATHS = frozenset(path for path in UNITS if "systemd/system" in path)


def test_units_are_those_that_are_brought_changed_or_enabled_and_not_masked() -> None:
    programs = Programs({"verify": (0, "", "")})
    made = subject(UNITS, tier=Tier.INSTANCE, inside=programs)
    found = RULES["units"](dataclasses.replace(made, own=UNIT_PATHS))
    assert found.verdict is Verdict.PASS
    argv = programs.asked[0]
    assert argv[argv.index("--") + 1 :] == ("app.service", "ssh.service", "default.target")


@pytest.mark.parametrize(
    "line",
    [
        "/usr/lib/systemd/system/app.service:3: Unknown key 'Foo' in section [Unit], ignoring.",
        "app.service: Command /usr/bin/nothere is not executable: No such file or directory",
        "Unit app.service not found.",
        "\x1b[0;1;31mb.service: Found ordering cycle on app.service/start\x1b[0m",
        "/usr/lib/systemd/system/ssh.service.d/50.conf:1: Unknown section 'Servce'. Ignoring.",
    ],
)
def test_a_complaint_about_an_own_unit_fails_whatever_the_code(line: str) -> None:
    for code in (0, 1):
        found = ask("units", UNITS, {"verify": (code, "", line)}, UNIT_PATHS)
        assert found.verdict is Verdict.FAIL, line
        assert "\x1b" not in found.details[0]


def test_units_of_users_are_verified_for_their_manager() -> None:
    path = "/usr/lib/systemd/user/mine.service"
    programs = Programs({"verify": (1, "", "mine.service: Command /x is not executable")})
    made = subject({"/usr/bin/systemd-analyze": "", path: ""}, tier=Tier.INSTANCE, inside=programs)
    found = RULES["units"](dataclasses.replace(made, own=frozenset({path})))
    assert found.verdict is Verdict.FAIL
    assert [("--user" in argv, argv[-2:]) for argv in programs.asked] == [
        (True, ("mine.service", "default.target"))
    ]


def test_a_complaint_about_the_base_s_units_is_a_note() -> None:
    line = "myapp.service: Command /usr/bin/x is not executable: No such file or directory"
    found = ask("units", UNITS, {"verify": (1, "", line)}, UNIT_PATHS)
    assert found.verdict is Verdict.PASS
    assert line in found.details[0]
    assert ask("units", UNITS, {"verify": (1, "", line)}, None).verdict is Verdict.FAIL


USERS: dict[str, Content] = {"/usr/bin/systemd-sysusers": "", "/usr/bin/systemd-tmpfiles": ""}
OWN = frozenset({"/usr/lib/sysusers.d/50.conf", "/usr/lib/tmpfiles.d/50.conf"})


def test_sysusers_fails_on_words_for_its_code_is_0() -> None:
    said = "/usr/lib/sysusers.d/50.conf:1: Failed to parse UID: 'notanid': Invalid argument"
    assert ask("sysusers", USERS, {"--dry-run": (0, "", said)}, OWN).verdict is Verdict.FAIL
    fine = "Creating group 'foo' with GID 5000.\nWould write /etc/group…"
    assert ask("sysusers", USERS, {"--dry-run": (0, "", fine)}, OWN).verdict is Verdict.PASS
    blamed = (
        "/usr/lib/sysusers.d/z.conf:1: Conflict with earlier configuration in /usr/lib/sysusers.d/50.conf:2"
    )
    assert ask("sysusers", USERS, {"--dry-run": (0, "", blamed)}, OWN).verdict is Verdict.FAIL
    assert ask("sysusers", USERS, {"--dry-run": (1, "", "no such root")}, OWN).verdict is Verdict.FAIL


def test_tmpfiles_may_name_users_that_sysusers_makes_first() -> None:
    line = "/usr/lib/tmpfiles.d/50.conf:1: Failed to resolve user 'foo': No such process"
    making = (0, "", "Creating user 'foo' (n/a) with UID 5000 and GID 5000.")
    answers = {"systemd-tmpfiles": (65, "", line), "systemd-sysusers": making}
    assert ask("tmpfiles", USERS, answers, OWN).verdict is Verdict.PASS
    nobody = {**answers, "systemd-sysusers": (0, "", "")}
    assert ask("tmpfiles", USERS, nobody, OWN).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("code", "verdict"), [(0, Verdict.PASS), (65, Verdict.FAIL), (127, Verdict.UNCHECKED)]
)
def test_tmpfiles_ends_by_its_code(code: int, verdict: Verdict) -> None:
    said = "/usr/lib/tmpfiles.d/50.conf:2: Unknown command type 'Y'.\n"
    assert ask("tmpfiles", USERS, {"systemd-tmpfiles": (code, "", said)}, OWN).verdict is verdict


@pytest.mark.parametrize("gate", ["sysusers", "tmpfiles"])
def test_a_tool_without_dry_run_has_nothing_to_say(gate: str) -> None:
    said = (1, "", f"systemd-{gate}: unrecognized option '--dry-run'")
    found = ask(gate, USERS, {"--dry-run": said}, OWN)
    assert found.verdict is Verdict.PASS
    assert "too old" in found.summary


@pytest.mark.parametrize(
    ("gate", "program"), [("sudoers", "/usr/sbin/visudo"), ("sshd-config", "/usr/sbin/sshd")]
)
@pytest.mark.parametrize(
    ("code", "verdict"), [(0, Verdict.PASS), (1, Verdict.FAIL), (127, Verdict.UNCHECKED)]
)
def test_sudo_and_sshd_end_by_their_code(gate: str, program: str, code: int, verdict: Verdict) -> None:
    answers = {"visudo": (code, "", "syntax error"), "/bin/sh": (code, "", "Bad configuration option")}
    assert ask(gate, {program: ""}, answers).verdict is verdict


SKOPEO: dict[str, Content] = {
    "/usr/bin/skopeo": "",
    "/usr/bin/systemd-socket-activate": "",
    "/etc/containers/policy.json": POLICY,
}
LET = "0 Writing manifest to image destination"
UNSIGNED = '1 level=fatal msg="Source image rejected: A signature was required, but no signature exists"'
DENIED = '1 level=fatal msg="Source image rejected: Running image docker://x is rejected by policy."'
LOST = '1 level=fatal msg="initializing source: dial tcp 127.0.0.1:50505: connect: connection refused"'


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ((LET, UNSIGNED, DENIED), Verdict.PASS),
        ((DENIED, UNSIGNED, DENIED), Verdict.FAIL),
        ((LET, LET, DENIED), Verdict.FAIL),
        ((LET, UNSIGNED, LET), Verdict.FAIL),
        ((LOST, UNSIGNED, DENIED), Verdict.UNCHECKED),
        ((LET, UNSIGNED, LOST), Verdict.UNCHECKED),
        ((LET, UNSIGNED), Verdict.UNCHECKED),
    ],
)
def test_a_rejection_is_told_from_a_lost_connection(answers: tuple[str, ...], verdict: Verdict) -> None:
    told = "".join(f"{number} {text}\n" for number, text in reversed(list(enumerate(answers, 1))))
    assert ask("pulls", SKOPEO, {"skopeo": (0, told, "")}).verdict is verdict


def test_skopeo_is_asked_for_each_scope_and_for_a_stranger() -> None:
    programs = Programs({})
    pulls.GATES[0].rule(subject(SKOPEO, tier=Tier.INSTANCE, inside=programs))
    assert programs.asked[0][-3:] == (
        "quay.io/probe/probe",
        "own.example/os/probe/probe",
        "foreign.invalid/nobody/nothing",
    )


@pytest.mark.parametrize(
    ("contents", "verdict"),
    [
        ({**SKOPEO, "/etc/containers/policy.json": "{"}, Verdict.FAIL),
        ({"/usr/bin/skopeo": ""}, Verdict.FAIL),
        ({path: SKOPEO[path] for path in SKOPEO if "activate" not in path}, Verdict.UNCHECKED),
    ],
)
def test_without_policy_or_server_there_is_no_pass(contents: dict[str, Content], verdict: Verdict) -> None:
    assert ask("pulls", contents, {}).verdict is verdict


def test_every_gate_is_for_instances_alone() -> None:
    assert {gate.tiers for gate in instance.GATES} == {frozenset({Tier.INSTANCE})}


def test_own_defaults_to_unknown() -> None:
    made: Any = subject()
    assert made.own is None
