from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pipeline.adapters.definitions import load
from pipeline.adapters.scaffold import ScaffoldFolder, installed_source
from pipeline.adapters.tools import install_line
from pipeline.domain.allowed_signers import parse_allowed_signers
from pipeline.domain.approval_settings import GitlabTable
from pipeline.domain.image import Tier
from pipeline.domain.protected_rules import rule_of
from pipeline.domain.scaffold import ScaffoldFile
from pipeline.errors import StateError, UsageError
from pipeline.verbs.init import InitResult, init

SETTINGS = """\
# Settings of all lines.
default_line = "debian"

[registry]
url = "127.0.0.1:5000/os" # where images live
insecure = true

[build]
module_jobs = 2 # side by side
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    for path, text in {
        "images/pipeline.toml": SETTINGS,
        "images/debian/upstream/debian-13.toml": "",
        "images/debian/base/base.toml": "",
        "images/debian/pins.toml": "kernel = '1'",
        "images/debian/base/.hidden": "",
        "images/debian/base/base.toml~": "",
        "images/centos-stream10/upstream/stream10.toml": "",
        "images/centos-stream10/hosts/web-1.toml": "",
        "Containerfiles/debian/base.Containerfile": "FROM x\n",
        "Containerfiles/debian/shape-tree.sh": "#!/bin/sh\n",
        "Containerfiles/centos-stream10/base.Containerfile": "FROM y\n",
    }.items():
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (top / "Containerfiles/debian/shape-tree.sh").chmod(0o755)
    return top


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def debian(source: Path, directory: Path, *, dry_run: bool = False) -> InitResult:
    return init(ScaffoldFolder(source), directory, line="debian", dry_run=dry_run)


def test_a_line_is_scaffolded_whole_and_without_pins(source: Path, tmp_path: Path) -> None:
    result = debian(source, tmp_path / "new")
    assert (
        tree(tmp_path / "new")
        == set(result.files)
        == {
            ".gitignore",
            ".gitlab-ci.yml",
            "README.md",
            "Containerfiles/debian/base.Containerfile",
            "Containerfiles/debian/shape-tree.sh",
            "images/debian/base/base.toml",
            "images/debian/upstream/debian-13.toml",
            "images/keys/allowed_signers",
            "images/pipeline.toml",
        }
    )
    assert (tmp_path / "new/images/pipeline.toml").read_text() == SETTINGS
    assert (tmp_path / "new/Containerfiles/debian/shape-tree.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert "debian:base" in (tmp_path / "new/.gitlab-ci.yml").read_text()
    assert "centos" not in (tmp_path / "new/.gitlab-ci.yml").read_text()
    assert "| `debian` | `base`, `debian-13` |" in (tmp_path / "new/README.md").read_text()


def test_a_script_that_doctor_names_comes_along(source: Path, tmp_path: Path) -> None:
    script = source / "scripts/fetch-cosign"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    script.chmod(0o755)
    (source / "scripts/demo").write_text("", encoding="utf-8")
    result = debian(source, tmp_path / "new")
    assert [path for path in result.files if path.startswith("scripts")] == ["scripts/fetch-cosign"]
    assert (tmp_path / "new/scripts/fetch-cosign").stat().st_mode & 0o777 == 0o755
    named = install_line("cosign", 'ID=debian\nVERSION_ID="12"\n').split()[0]
    assert named in {file.path for file in ScaffoldFolder(installed_source()).files(["debian"])}


def test_what_is_scaffolded_from_what_is_shipped_loads_and_lets_nobody_release(tmp_path: Path) -> None:
    init(ScaffoldFolder(installed_source()), tmp_path / "new", registry="registry.example.org/os")
    settings = load(tmp_path / "new/images").settings
    assert settings.signing.key == "env://PIPELINE_RELEASE_KEY"
    assert (settings.retention.releases, settings.retention.candidate_days) == (5, 30)
    assert [rule_of(settings.approval, tier).people for tier in Tier] == [(), (), ()]
    listed = (tmp_path / "new/images/keys/allowed_signers").read_bytes()
    assert parse_allowed_signers(listed, file="keys/allowed_signers").keys == ()


def test_the_example_of_who_may_release_is_right_once_its_marks_are_taken_away(tmp_path: Path) -> None:
    init(ScaffoldFolder(installed_source()), tmp_path / "new")
    path = tmp_path / "new/images/pipeline.toml"
    path.write_text(re.sub(r"(?m)^#(?=[^ :\n])", "", path.read_text()))
    approval = load(tmp_path / "new/images").settings.approval
    every = {tier: rule_of(approval, tier) for tier in (Tier.UPSTREAM, Tier.BASE, Tier.INSTANCE)}
    assert [[part.count for part in rule.people] for rule in every.values()] == [[1], [2], [2, 1]]
    assert "gitlab:ben" in every[Tier.INSTANCE].ci_identities
    assert {"gitlab:ada", "gitlab:ben", "gitlab:cleo"} <= {
        name for names in approval.people.values() for name in names
    }
    assert approval.gitlab is not None
    assert set(GitlabTable.model_fields) - approval.gitlab.model_fields_set == {"audience", "refs"}


def test_all_lines_and_the_line_that_becomes_the_default(source: Path, tmp_path: Path) -> None:
    every = init(ScaffoldFolder(source), tmp_path / "all")
    assert every.lines == ("centos-stream10", "debian")
    assert "images/centos-stream10/hosts/web-1.toml" in every.files
    init(ScaffoldFolder(source), tmp_path / "one", line="centos-stream10")
    text = (tmp_path / "one/images/pipeline.toml").read_text()
    assert tomllib.loads(text)["default_line"] == "centos-stream10"


@pytest.mark.parametrize("insecure", [False, True])
def test_the_registry_is_set_and_comments_are_kept(source: Path, tmp_path: Path, *, insecure: bool) -> None:
    init(ScaffoldFolder(source), tmp_path / "new", registry="registry.example.org:5000/os", insecure=insecure)
    text = (tmp_path / "new/images/pipeline.toml").read_text()
    expected = {"url": "registry.example.org:5000/os"} | ({"insecure": True} if insecure else {})
    assert tomllib.loads(text)["registry"] == expected
    assert "# where images live" in text
    assert "# side by side" in text
    assert (
        "login that may push to registry.example.org:5000/os" in (tmp_path / "new/.gitlab-ci.yml").read_text()
    )


@pytest.mark.parametrize(
    "registry", ["https://x.org/y", "x.org/UPPER", "", "-x", 'a"\nb', "$(id)/x", "x.org/a/../b", "x.org/a b"]
)
def test_a_wrong_registry_is_refused(source: Path, tmp_path: Path, registry: str) -> None:
    with pytest.raises(UsageError, match="is no registry"):
        init(ScaffoldFolder(source), tmp_path / "new", registry=registry)
    assert not (tmp_path / "new").exists()


def test_plain_http_needs_a_registry(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--insecure"):
        init(ScaffoldFolder(source), tmp_path / "new", insecure=True)


def test_an_unknown_line_names_the_nearest(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no line 'debain'") as caught:
        init(ScaffoldFolder(source), tmp_path / "new", line="debain")
    assert caught.value.hint == "did you mean debian?"
    for line in ("../debian", "", "debian/base"):
        with pytest.raises(UsageError):
            init(ScaffoldFolder(source), tmp_path / "new", line=line)


def test_a_dry_run_lists_the_same_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    dry = debian(source, tmp_path / "new", dry_run=True)
    assert tree(tmp_path) == before
    assert not dry.written
    assert debian(source, tmp_path / "new").files == dry.files


def test_an_empty_folder_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert debian(source, tmp_path / "new").written
    assert (tmp_path / "new/README.md").is_file()


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_there_is_never_touched(source: Path, tmp_path: Path, *, dry_run: bool) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    before = sorted(path.name for path in tmp_path.iterdir())
    for name, said in {
        "full": "is not empty",
        "file": "is no folder",
        "link": "is no folder",
        "a/b": "there is no folder",
    }.items():
        with pytest.raises(StateError, match=said):
            debian(source, tmp_path / name, dry_run=dry_run)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "full/mine").read_text() == "mine"


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    files = [
        ScaffoldFile(path="a", content=b""),
        ScaffoldFile(path="a/b", content=b""),  # a is a file: cannot be written
    ]
    with pytest.raises(StateError, match="could not be written"):
        ScaffoldFolder(tmp_path).write(tmp_path / "new", files)
    assert list(tmp_path.iterdir()) == []


def test_the_checkout_is_a_source() -> None:
    assert installed_source() == Path(__file__).parents[2]
    assert ScaffoldFolder(installed_source()).lines() == ("centos-stream10", "debian")
