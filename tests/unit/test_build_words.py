"""Which words of `build` go together, and that a refusal builds nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hosttrees import KEY, make_tree, write

from pipeline.cli import main
from pipeline.errors import UsageError


@pytest.fixture
def images(tmp_path: Path) -> str:
    made = make_tree(tmp_path)
    write(made / "keys/release.pub", KEY)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True, capture_output=True)
    return str(made)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tier", "instance"], "no host is named"),
        (["--tier", "instance", "--all", "--host", "web-1"], "contradict"),
        (["--tier", "instance", "--all", "--image", "web-1"], "contradict"),
        (["--tier", "base", "--host", "web-1"], "not for the tier base"),
        (["--tier", "upstream", "--jobs", "2"], "not for the tier upstream"),
        (["--tier", "instance", "--host", "nobody"], "no image 'nobody'"),
        (["--tier", "instance", "--host", "base"], "of the tier base"),
        (["--tier", "instance", "--all", "--jobs", "0"], "no number from 1"),
        (["--tier", "instance", "--all", "--jobs", "x"], "no number from 1"),
    ],
)
def test_words_that_do_not_go_together_are_refused(
    images: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--images", images, "build", *words]) == UsageError.exit_code
    assert said in capsys.readouterr().err


def test_a_dry_run_shows_the_hosts_that_are_named(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path(images) / "debian/hosts/db-1.toml", 'from = "base"\nhostname = "db-1"\n')
    words = ["--images", images, "build", "--tier", "instance", "--host", "db-1", "--dry-run"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "debian/db-1" in shown
    assert "web-1" not in shown
    assert "build --tier base first" in shown
