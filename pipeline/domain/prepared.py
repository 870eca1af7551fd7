"""The bytes of every file a host's definition brings, with templates filled in.

Rules: a file that is named but was not read is somebody else's complaint; a template must be UTF-8; every
value of the host and these four are known to templates: hostname, image, line, registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.domain.host import HostDefinition
from pipeline.domain.template import Scalar, fill
from pipeline.problem import Problem

FILES, TEMPLATES = "files", "templates"
BUILT_IN = ("hostname", "image", "line", "registry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file the definition names: the key that brings it, the key that names it, its path in the line."""

    key: str
    name_key: str
    path: str

    @property
    def is_template(self) -> bool:
        """Whether values are put into it."""
        return self.path.startswith(f"{TEMPLATES}/")


def wanted(host: HostDefinition) -> Iterator[Wanted]:
    """Yield every file of the line's folder that a host names, keys of trusted signers too."""
    sources = [(f"files.{path}", file.source, file.template) for path, file in host.files.items()]
    sources += [(f"units.{name}", unit.source, unit.template) for name, unit in host.units.items()]
    if host.alloy is not None:
        sources.append(("alloy", None, host.alloy.template))
    for key, source, template in sources:
        if source is not None:
            yield Wanted(key=key, name_key=f"{key}.source", path=f"{FILES}/{source}")
        if template is not None:
            yield Wanted(key=key, name_key=f"{key}.template", path=f"{TEMPLATES}/{template}")
    for scope, path in host.trust.signed.items():
        yield Wanted(key=f"trust.signed.{scope}", name_key=f"trust.signed.{scope}", path=path)


def prepare(
    host: HostDefinition, materials: Mapping[str, bytes], built_in: Mapping[str, str], *, shown: str
) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
    """Return the bytes for each key that brings a file, and the problems of templates.

    Args:
        host: The merged definition.
        materials: Path in the line's folder to bytes.
        built_in: The values of `BUILT_IN`.
        shown: The line's folder as problems name it.
    """
    values: dict[str, Scalar] = {**host.values, **built_in}
    texts = {
        f"files.{path}": file.content.encode()
        for path, file in host.files.items()
        if file.content is not None
    }
    problems: list[Problem] = []
    for one in wanted(host):
        raw = materials.get(one.path)
        if raw is None:
            continue
        if one.is_template:
            raw, found = _filled(raw, values, f"{shown}/{one.path}")
            problems.extend(found)
        texts[one.key] = raw
    return texts, tuple(problems)


def _filled(raw: bytes, values: Mapping[str, Scalar], file: str) -> tuple[bytes, tuple[Problem, ...]]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        hint = "save it as UTF-8, or name it as `source` to copy it as it is"
        problem = Problem(file=file, line=line, key="", message="a template must be UTF-8", hint=hint)
        return raw, (problem,)
    filled, problems = fill(text, values, file=file)
    return filled.encode(), problems
