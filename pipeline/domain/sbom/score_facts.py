"""Reads from a CycloneDX JSON document what the yardsticks ask about, whatever else it holds or lacks.

Rules: the document comes from outside; a part of the wrong shape counts as absent, and nothing here raises.
Components are the image itself (`metadata.component`), all others and those nested in them, one for each
`bom-ref` (without one: each purl; without both: each entry), as sbomqs counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from packageurl import PackageURL

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_CPE = re.compile(r"cpe:2\.3:[aho*-](:([^:\\\s]|\\\S)+){10}|cpe:/[aho](:[^:\s]*){1,6}", re.IGNORECASE)
_TOLD = frozenset({"complete", "incomplete", "unknown"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """One entry of `licenses`: an id, a name or an expression. `acknowledgement` may be empty."""

    text: str
    acknowledgement: str
    expression: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Entity:
    """Who supplied or made a thing."""

    name: str = ""
    url: str = ""
    email: str = ""

    @property
    def known(self) -> bool:
        """Whether it says anything at all."""
        return bool(self.name or self.url or self.email)

    @property
    def reachable(self) -> bool:
        """Whether a machine could get in touch: by mail, or at an address."""
        return bool("@" in self.email or "://" in self.url)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """An external reference; `hashes` are the normalised names of its algorithms ("SHA512")."""

    kind: str
    url: str
    hashes: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """What a component says of itself; absent texts are empty. `hashes` as those of a reference."""

    ref: str
    kind: str
    name: str
    version: str
    purl: str
    cpe: str
    swid: str
    hashes: frozenset[str]
    supplier: Entity
    manufacturer: Entity
    licences: tuple[Licence, ...]
    references: tuple[Reference, ...]
    properties: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return self.name or self.ref or self.purl or "a component without a name"

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of a property, without the empty ones."""
        return tuple(value for key, value in self.properties if key == name and value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Composition:
    """A claim of completeness, for the components it names or, naming none, for the whole document."""

    aggregate: str
    assemblies: frozenset[str]
    dependencies: frozenset[str]
    elsewhere: bool

    @property
    def everywhere(self) -> bool:
        """Whether it is about the whole document."""
        return not (self.assemblies or self.dependencies or self.elsewhere)

    @property
    def tells(self) -> bool:
        """Whether it says complete, incomplete (of any kind) or openly unknown."""
        return self.aggregate.split("_", 1)[0] in _TOLD


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the yardsticks read of a document. `depends`: each entry of `dependencies`, what it depends on."""

    metadata: Mapping[str, Any]
    spec: str
    spec_version: str
    serial: str
    timestamp: str
    root: Component | None
    components: tuple[Component, ...]
    depends: Mapping[str, tuple[str, ...]]
    compositions: tuple[Composition, ...]
    licences: tuple[Licence, ...]
    tools: tuple[tuple[str, str], ...]
    authors: tuple[Entity, ...]
    signed: bool
    vulnerabilities: int
    schema_valid: bool

    @property
    def by_ref(self) -> dict[str, Component]:
        """The components that have a `bom-ref`, by it."""
        return {component.ref: component for component in self.components if component.ref}


def facts_of(document: Mapping[str, Any], *, schema_valid: bool) -> Facts:
    """Return what the yardsticks read; `schema_valid` is what a JSON schema validator said of it."""
    metadata = _map(document.get("metadata"))
    own = metadata.get("component")
    root = component_of(_map(own)) if isinstance(own, Mapping) else None
    return Facts(
        metadata=metadata,
        spec=_text(document.get("bomFormat")),
        spec_version=_text(document.get("specVersion")),
        serial=_text(document.get("serialNumber")),
        timestamp=_text(metadata.get("timestamp")),
        root=root,
        components=tuple(_distinct(_walk([own, *_list(document.get("components"))]))),
        depends=_dependencies(_maps(document.get("dependencies"))),
        compositions=tuple(_composition(entry) for entry in _maps(document.get("compositions"))),
        licences=tuple(_licences(metadata.get("licenses"))),
        tools=tuple(_tools(metadata.get("tools"))),
        authors=tuple(_entity_of_person(entry) for entry in _maps(metadata.get("authors"))),
        signed=bool(_map(document.get("signature"))),
        vulnerabilities=len(_list(document.get("vulnerabilities"))),
        schema_valid=schema_valid,
    )


def component_of(entry: Mapping[str, Any]) -> Component:
    """Return what one component says."""
    return Component(
        ref=_text(entry.get("bom-ref")),
        kind=_text(entry.get("type")),
        name=_text(entry.get("name")),
        version=_text(entry.get("version")),
        purl=_text(entry.get("purl")),
        cpe=_text(entry.get("cpe")),
        swid=_text(_map(entry.get("swid")).get("tagId")),
        hashes=_hashes(entry.get("hashes")),
        supplier=entity_of(entry.get("supplier")),
        manufacturer=entity_of(entry.get("manufacturer")),
        licences=tuple(_licences(entry.get("licenses"))),
        references=tuple(_reference(one) for one in _maps(entry.get("externalReferences"))),
        properties=tuple(
            (_text(one.get("name")), _text(one.get("value"))) for one in _maps(entry.get("properties"))
        ),
    )


def entity_of(value: Any) -> Entity:
    """Return an organisation: its name, its first address, the first mail address of its contacts."""
    entry = _map(value)
    urls = [_text(url) for url in _list(entry.get("url"))]
    mails = [_text(contact.get("email")) for contact in _maps(entry.get("contact"))]
    return Entity(name=_text(entry.get("name")), url=_first(urls), email=_first(mails))


def is_time(text: str) -> bool:
    """Tell whether a text is a time as RFC 3339 writes it."""
    if not _RFC3339.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text[:19])
    except ValueError:
        return False
    return True


def is_purl(text: str) -> bool:
    """Tell whether a text is a package URL with a type and a name."""
    try:
        return bool(text) and bool(PackageURL.from_string(text).name)
    except ValueError:
        return False


def is_cpe(text: str) -> bool:
    """Tell whether a text is a CPE, as formatted string (2.3) or as URI (2.2)."""
    return _CPE.fullmatch(text) is not None


def _walk(entries: Iterable[Any]) -> Iterator[Component]:
    """Yield components and those nested in them; without recursion, which a hostile nesting could exhaust."""
    waiting = [entry for entry in entries if isinstance(entry, Mapping)][::-1]
    while waiting:
        entry = waiting.pop()
        yield component_of(entry)
        waiting.extend(reversed(_maps(entry.get("components"))))


def _distinct(components: Iterable[Component]) -> Iterator[Component]:
    seen: set[str] = set()
    for component in components:
        key = component.ref or component.purl
        if not key or key not in seen:
            seen.add(key)
            yield component


def _dependencies(entries: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    depends: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        ref = _text(entry.get("ref"))
        depends[ref] = (*depends.get(ref, ()), *(_text(one) for one in _list(entry.get("dependsOn"))))
    return depends


def _composition(entry: Mapping[str, Any]) -> Composition:
    return Composition(
        aggregate=_text(entry.get("aggregate")),
        assemblies=frozenset(_text(ref) for ref in _list(entry.get("assemblies"))),
        dependencies=frozenset(_text(ref) for ref in _list(entry.get("dependencies"))),
        elsewhere=bool(_list(entry.get("vulnerabilities"))),
    )


def _licences(value: Any) -> Iterator[Licence]:
    for entry in _maps(value):
        inner = _map(entry.get("license"))
        expression = _text(entry.get("expression"))
        text = expression or _text(inner.get("id")) or _text(inner.get("name"))
        told = _text(entry.get("acknowledgement") if expression else inner.get("acknowledgement"))
        if text:
            yield Licence(text=text, acknowledgement=told, expression=bool(expression))


def _tools(value: Any) -> Iterator[tuple[str, str]]:
    """Yield names and versions of tools: a list up to CycloneDX 1.4, components and services since."""
    groups = (
        [value] if isinstance(value, list) else [_map(value).get("components"), _map(value).get("services")]
    )
    for group in groups:
        for tool in _maps(group):
            yield _text(tool.get("name")), _text(tool.get("version"))


def _entity_of_person(entry: Mapping[str, Any]) -> Entity:
    return Entity(name=_text(entry.get("name")), email=_text(entry.get("email")))


def _reference(entry: Mapping[str, Any]) -> Reference:
    kind, url = _text(entry.get("type")), _text(entry.get("url"))
    return Reference(kind=kind, url=url, hashes=_hashes(entry.get("hashes")))


def _hashes(value: Any) -> frozenset[str]:
    found = (entry for entry in _maps(value) if _text(entry.get("content")))
    return frozenset(_text(entry.get("alg")).upper().replace("-", "").replace("_", "") for entry in found)


def _first(texts: Sequence[str]) -> str:
    return next((text for text in texts if text), "")


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in _list(value) if isinstance(entry, Mapping)]
