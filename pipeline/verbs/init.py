"""`pipeline init DIR`: a new image repository with definitions, Containerfiles, CI file and README.

Rules: a dry run and a real run list the same files; everything is known before the first byte is written;
the settings keep their comments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import tomlkit
from pydantic import ValidationError

from pipeline.domain.catalogue import nearest
from pipeline.domain.image import Tier
from pipeline.domain.scaffold import Scaffold, ScaffoldFile
from pipeline.domain.settings import RegistrySettings, Settings
from pipeline.errors import UsageError
from pipeline.verbs.ci_render import CiLine, CiSettings, ci_render

ALL = "all"
"""Name that stands for every line."""

_SETTINGS = "images/pipeline.toml"
_SIGNERS = "images/keys/allowed_signers"
_FOLDERS = {"upstream": Tier.UPSTREAM, "base": Tier.BASE, "hosts": Tier.INSTANCE}

_IGNORED = """\
# Logs and work of `pipeline` runs
.pipeline/
# Programs fetched for this repository alone
.tools/
# Private keys, such as cosign.key
*.key
"""

_SIGNERS_TEXT = """\
# Whose keys may sign decisions (ssh-keygen(1), ALLOWED SIGNERS); who of them may approve what is written in
# [approval] of pipeline.toml. Both count as they are on the protected branch. One key a line:
#
#   principal[,principal…] options keytype key
#
# Principals are written out, without patterns; `ssh-keygen -t ed25519-sk` makes a key that wants a touch.
# When somebody leaves, give the line an end (valid-before="20300131Z") instead of deleting it: releases they
# approved before can be checked still.
#
# A key that signs records of the ledger ([ledger.writers] of pipeline.toml) or release tags signs for "git".
#
#ada@example.org namespaces="decision@bootc-pipeline,git" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… ada
#ci@example.org namespaces="git" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA… build jobs
"""

_README = """\
# Operating-system images

The images of this repository are built, checked and recorded by `pipeline`. What is in them is written in
`images/`; how they are put together, in `Containerfiles/`.

| line | images |
|---|---|
{table}

## First build

```sh
git init && git add . && git commit -m "Start from the scaffold of pipeline"
pipeline doctor                            # every program that is needed, and how to install it
PATH="$PWD/.tools/bin:$PATH"               # where the script puts cosign; `pipeline` looks there itself
cosign generate-key-pair                   # keep cosign.key safe and out of the repository …
mkdir -p images/keys && mv cosign.pub images/keys/release.pub   # … hosts trust this half
pipeline plan                              # what would be built, from what
{commands}
```

Images go to `{registry}` (`images/pipeline.toml`; the variable PIPELINE_REGISTRY overrides it).
`pipeline pin` writes `images/<line>/pins.toml`: commit it, it is the evidence for the kernel that was chosen.

## On GitLab

`.gitlab-ci.yml` was written by `pipeline ci render`; its first lines name the runner and the CI/CD variables
it needs. Write it anew when a line comes or goes: `pipeline ci render > .gitlab-ci.yml`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitResult:
    """What was written, or would be: the folder, the lines, and the files' paths in it."""

    directory: Path
    lines: tuple[str, ...]
    files: tuple[str, ...]
    written: bool


def init(
    scaffold: Scaffold,
    directory: Path,
    *,
    line: str = ALL,
    registry: str | None = None,
    insecure: bool = False,
    release_key: str | None = None,
    dry_run: bool = False,
) -> InitResult:
    """Write a new image repository.

    Args:
        scaffold: The files to start from, and the place to write to.
        directory: A missing or empty folder.
        line: One line, or "all".
        registry: `host[:port][/prefix]` of the images; the scaffold's when not given.
        insecure: Speak plain HTTP to `registry`.
        release_key: PEM public key that releases will be signed with; without one the owner adds it later.
        dry_run: Check and list, write nothing.

    Raises:
        UsageError: There is no such line, or `registry` is none.
        StateError: The folder is not empty or cannot be written.
    """
    lines = _chosen(scaffold.lines(), line)
    if insecure and registry is None:
        raise UsageError("--insecure says how to speak to a registry", hint="name it with --registry")
    files = (
        *_repository(scaffold.files(lines), lines, registry=registry, insecure=insecure),
        *_release_key(release_key),
    )
    scaffold.check(directory)
    if not dry_run:
        scaffold.write(directory, files)
    return InitResult(
        directory=directory, lines=lines, files=tuple(file.path for file in files), written=not dry_run
    )


def _release_key(text: str | None) -> tuple[ScaffoldFile, ...]:
    if text is None:
        return ()
    if not text.startswith("-----BEGIN PUBLIC KEY-----"):
        raise UsageError(
            "the release key is no PEM public key", hint="give the .pub file of `cosign generate-key-pair`"
        )
    return (ScaffoldFile(path="images/keys/release.pub", content=text.encode()),)


def _chosen(lines: Sequence[str], line: str) -> tuple[str, ...]:
    if line == ALL:
        return tuple(lines)
    if line not in lines:
        raise UsageError(f"there is no line {line!r} to start from", hint=nearest(line, [*lines, ALL]))
    return (line,)


def _repository(
    files: Sequence[ScaffoldFile], lines: Sequence[str], *, registry: str | None, insecure: bool
) -> tuple[ScaffoldFile, ...]:
    by_path = {file.path: file for file in files}
    text = _settings(by_path[_SETTINGS].content.decode(), lines, registry, insecure=insecure)
    # By way of JSON, whose lists may stand for fixed sequences.
    settings = Settings.model_validate_json(json.dumps(tomlkit.parse(text).unwrap()))
    ci = ci_render([CiLine(name=line, tiers=_tiers(files, line)) for line in lines], CiSettings.of(settings))
    made = {
        _SETTINGS: text,
        _SIGNERS: _SIGNERS_TEXT,
        ".gitlab-ci.yml": ci,
        ".gitignore": _IGNORED,
        "README.md": _readme(files, lines, settings.registry.url),
    }
    by_path |= {path: ScaffoldFile(path=path, content=text.encode()) for path, text in made.items()}
    return tuple(by_path[path] for path in sorted(by_path))


def _settings(text: str, lines: Sequence[str], registry: str | None, *, insecure: bool) -> str:
    document = tomlkit.parse(text)
    if document.get("default_line") not in lines:
        document["default_line"] = lines[0]
    if registry is None:
        return tomlkit.dumps(document)
    try:
        RegistrySettings(url=registry)
    except ValidationError as error:
        raise UsageError(
            f"{registry!r} is no registry", hint="write host[:port][/prefix], without a scheme"
        ) from error
    table = document["registry"]
    if not isinstance(table, tomlkit.items.Table):
        raise TypeError("the scaffold's settings have no table [registry]")
    table["url"] = registry
    if insecure:
        table["insecure"] = True
    else:
        table.pop("insecure", None)
    return tomlkit.dumps(document)


def _tiers(files: Sequence[ScaffoldFile], line: str) -> frozenset[Tier]:
    folders = {PurePosixPath(file.path).parts[2] for file in files if file.path.startswith(f"images/{line}/")}
    return frozenset(tier for folder, tier in _FOLDERS.items() if folder in folders)


def _readme(files: Sequence[ScaffoldFile], lines: Sequence[str], registry: str) -> str:
    rows = []
    for line in lines:
        paths = [PurePosixPath(file.path) for file in files if file.path.startswith(f"images/{line}/")]
        names = [path.stem for path in paths if path.suffix == ".toml" and path.parts[2] in _FOLDERS]
        rows.append(f"| `{line}` | {', '.join(f'`{name}`' for name in names)} |")
    steps = ("build --tier upstream", "pin", "build --tier base")
    commands = "\n".join(f"pipeline --line {lines[0]} {step}" for step in steps)
    return _README.format(table="\n".join(rows), commands=commands, registry=registry)
