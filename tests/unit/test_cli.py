"""The command line as a person or a CI job meets it: words, exit codes, what goes to which stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from commandline import run_main, verbs

import pipeline
from pipeline import wiring
from pipeline.adapters.scaffold import ScaffoldFolder, installed_source
from pipeline.verbs.init import init

ROOT = Path(pipeline.__file__).parents[1]
HEAVY = (
    *("pydantic", "rich", "docker", "git", "yaml", "zstandard", "elftools", "tomlkit", "urllib3"),
    *("cryptography", "nacl"),
)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scaffolded image repository under git."""
    folder = tmp_path_factory.mktemp("repository") / "os"
    init(ScaffoldFolder(installed_source()), folder, line="debian")
    for words in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "."),
        ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "--quiet", "-m", "Start"),
    ):
        subprocess.run(["git", "-C", str(folder), *words], check=True, stdin=subprocess.DEVNULL)
    return folder


def run(folder: Path, *words: str, **environment: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def main(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    """Run in this process, for what needs no process of its own."""
    try:
        code = run_main(*words)
    except SystemExit as ended:
        code = int(str(ended.code or 0))
    said = capsys.readouterr()
    return Said(code, said.out, said.err)


# --- help and usage --------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pipeline.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("usage: pipeline")
    assert done.stdout.endswith("LOADED []\n")


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_has_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    said = main(capsys, *verb.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"usage: pipeline {verb}")


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(capsys, "--version") == Said(0, f"pipeline {pipeline.__version__}\n", "")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("bulid",),
        ("--no-such-option",),
        ("build",),
        ("build", "--tier", "best"),
        ("-v", "-q", "plan"),
        ("plan", "--image"),
        ("ci",),
        ("ci", "x"),
        ("init",),
        ("check", "--image"),
        ("plan", "\x1b[2J"),
    ],
)
def test_wrong_words_are_usage_with_a_hint(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    said = main(capsys, *words)
    assert (said.code, said.out) == (2, "")
    first, second = said.err.splitlines()
    assert first.startswith("pipeline: ")
    assert second.startswith("  -> see `pipeline")
    assert "\x1b" not in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("schema", "hots"),
        ("--line", "debain", "plan"),
        ("plan", "--image", "bsae"),
        ("plan", "--tier", "upstream", "--image", "base"),
        ("check", "not a reference"),
        ("check", "debian/bsae"),
        ("pin", "--kernel", "6.12.1"),
        ("pin", "--kernel", "6.12.1", "--why", "x", "--expires", "soon"),
    ],
)
def test_what_does_not_exist_is_usage_too(
    repository: Path,
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(repository)
    for json_words, hint in (((), "\n  -> "), (("--json",), '"hint": "')):
        said = main(capsys, *json_words, *words)
        assert (said.code, said.out) == (2, ""), said.err
        assert hint in said.err


# --- verbs that need no engine ---------------------------------------------------------------------------


def test_plan_shows_the_line_and_what_is_in_the_way(repository: Path) -> None:
    said = run(repository, "plan")
    assert said.code == 0, said.err
    assert "bootstrap trixie" in said.out
    assert "debian/base" in said.out
    assert "no kernel is pinned" in said.out
    assert "\x1b" not in said.out


def test_plan_as_json_is_one_document_and_the_dry_run_is_the_same_plan(repository: Path) -> None:
    said = run(repository, "--json", "plan", "--tier", "base")
    [line] = json.loads(said.out)["plans"]
    assert [step["image"] for step in line["steps"]] == ["debian/base"]
    assert run(repository, "--json", "build", "--tier", "base", "--dry-run") == said


def test_a_plan_leaves_nothing_behind(repository: Path) -> None:
    before = sorted(repository.rglob("*"))
    run(repository, "plan")
    assert sorted(repository.rglob("*")) == before


def test_log_of_an_empty_ledger_is_no_error(repository: Path) -> None:
    assert run(repository, "log").code == 0
    said = run(repository, "--json", "log")
    assert said.code == 0
    assert json.loads(said.out) is not None


def test_check_list_and_schema_need_no_definitions(tmp_path: Path) -> None:
    listed = run(tmp_path, "--json", "check", "--list")
    assert listed.code == 0
    assert len(json.loads(listed.out)["gates"]) > 5
    assert run(tmp_path, "check", "--list").out
    everything = json.loads(run(tmp_path, "schema").out)
    base = json.loads(run(tmp_path, "schema", "base").out)
    assert everything
    assert base


def test_ci_render_is_the_file_the_scaffold_has(repository: Path) -> None:
    assert run(repository, "ci", "render").out == (repository / ".gitlab-ci.yml").read_text()


@pytest.mark.parametrize("words", [("--json", "plan", "--no-such"), ("--json", "log")])
def test_to_a_machine_an_error_is_one_json_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = run(tmp_path, *words)
    [line] = said.err.splitlines()
    told = json.loads(line)
    assert (told["event"], told["exit_code"], said.out) == ("error", said.code, "")
    assert all((said.code, told["message"], told["hint"]))


def test_missing_definitions_are_a_definition_error(tmp_path: Path) -> None:
    said = run(tmp_path, "--json", "plan")
    assert (said.code, said.out) == (3, "")
    assert "images" in said.err


def test_an_override_that_is_no_registry_is_refused(repository: Path) -> None:
    said = run(repository, "plan", PIPELINE_REGISTRY="https://x/y")
    assert (said.code, said.out) == (3, "")
    assert "PIPELINE_REGISTRY" in said.err


def test_a_date_of_the_environment_that_is_none_is_usage(repository: Path) -> None:
    said = run(repository, "build", "--tier", "upstream", SOURCE_DATE_EPOCH="yesterday")
    assert said.code == 2, said.err
    assert "SOURCE_DATE_EPOCH" in said.err


# --- what goes wrong -------------------------------------------------------------------------------------


class Broken(wiring.Parts):
    """Parts of which one is broken in a way nobody foresaw."""

    @property
    def catalogue(self) -> object:  # type: ignore[override]
        raise ZeroDivisionError("oh\x1b[2J no")


def test_a_fault_of_the_program_becomes_a_report_and_its_path(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(wiring, "Parts", Broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = main(capsys, "--json", "plan")
    assert (said.code, said.out) == (70, "")
    [report] = tmp_path.glob("pipeline-report-*.txt")
    assert str(report) in said.err
    assert "ZeroDivisionError" in said.err
    assert "Traceback" not in said.err
    assert "\x1b" not in said.err
    text = report.read_text()
    assert "Traceback" in text
    assert "'--json', 'plan'" in text
    assert pipeline.__version__ in text


@pytest.mark.parametrize("words", [("schema",), ("plan", "--image", "nothing"), ("check", "--list")])
def test_a_reader_that_goes_away_is_no_fault(repository: Path, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_hostile_words_are_shown_harmlessly(repository: Path) -> None:
    said = run(repository, "plan", "--image", "\x1b[2Jx\udcff")
    assert said.code == 2
    assert "\x1b" not in said.err
