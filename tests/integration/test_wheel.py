"""The wheel carries what `pipeline init` needs: built, installed elsewhere, run, and its result loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RUN_INIT = """
import json, sys
from pathlib import Path
import pipeline
from pipeline.adapters.definitions import load
from pipeline.adapters.scaffold import ScaffoldFolder, installed_source
from pipeline.verbs.init import init
new = Path(sys.argv[1])
result = init(ScaffoldFolder(installed_source()), new, registry="registry.example.org/os")
catalogue = load(new / "images")
print(json.dumps({
    "package": pipeline.__file__,
    "source": str(installed_source()),
    "files": result.files,
    "lines": {name: list(line.images) for name, line in catalogue.lines.items()},
    "registry": catalogue.settings.registry.url,
}))
"""


def run(*argv: str, cwd: Path) -> str:
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_brings_scaffold_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "pipeline/scaffold/images/pipeline.toml" in names
    assert "pipeline/scaffold/Containerfiles/debian/base.Containerfile" in names
    assert "pipeline/scaffold/scripts/fetch-cosign" in names
    assert "pipeline/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_an_installed_wheel_scaffolds_a_repository_that_loads(wheel: Path, tmp_path: Path) -> None:
    site, new = tmp_path / "site", tmp_path / "new"
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile",
        "--target", str(site), str(wheel), cwd=tmp_path,
    )  # fmt: skip
    code = f"import sys; sys.path.insert(0, {str(site)!r}){RUN_INIT}"
    said = json.loads(run(sys.executable, "-c", code, str(new), cwd=tmp_path))
    assert said["package"].startswith(str(site))
    assert said["source"] == str(site / "pipeline" / "scaffold")
    assert said["registry"] == "registry.example.org/os"
    assert set(said["lines"]) == {"centos-stream10", "debian"}
    assert all("base" in images for images in said["lines"].values())
    assert not any(name.endswith("pins.toml") for name in said["files"])
    shipped = {
        path.name for path in (ROOT / "Containerfiles/debian").iterdir() if path.stat().st_mode & 0o100
    }
    kept = {path.name for path in (new / "Containerfiles/debian").iterdir() if path.stat().st_mode & 0o100}
    assert kept == shipped
