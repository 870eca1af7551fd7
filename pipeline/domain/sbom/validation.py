"""Judges an SBOM by its final bytes: the schema, the references, and whether it names what the image holds.

Rules: what is checked is what will be published, never the values it was made of; the schema check is the
library's strict one, and what that one does not look at (a reference that leads nowhere, one that stands
twice) is looked at here; an SBOM that says less than the image holds is refused like one that is malformed.
"""

from __future__ import annotations

import functools
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft7Validator, FormatChecker
from jsonschema.protocols import Validator

from pipeline.domain.sbom.inventory import Expected, Inventory
from pipeline.domain.sbom.part import PATH, SPEC
from pipeline.domain.text import plain
from pipeline.errors import SbomError

_SHOWN = 5
_HINT = "nothing is recorded with it; look at what the message names, then build again"


class _Validator(JsonStrictValidator):
    """The library's strict validator, which asks of each text only once whether it has a format.

    Its grammar of addresses takes 25 ms a time, and a document repeats a few in every other component.
    """

    @property
    def _validator(self) -> Validator:
        if self._quick is None:
            self._quick = super()._validator.evolve(format_checker=_remembering(FORMATS))
        return self._quick

    _quick: Validator | None = None


def _remembering(known: FormatChecker) -> FormatChecker:
    found = FormatChecker(formats=())
    for name, (check, raises) in known.checkers.items():
        found.checks(name, raises)(_once(check))
    return found


def _once(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    remembered = functools.lru_cache(maxsize=4096)(check)
    return lambda value: remembered(value) if isinstance(value, str) else check(value)


FORMATS = Draft7Validator.FORMAT_CHECKER
_VALIDATOR = _Validator(SchemaVersion.V1_6)
_LOCK = threading.Lock()  # the library makes its validator at the first use, and not with threads in mind


def validate(data: bytes, expected: Expected | None = None) -> None:
    """Return if an SBOM is valid and, where it is told what to expect, complete.

    Raises:
        SbomError: It is not; the message names the first places.
    """
    check_schema(data)
    content = json.loads(data)
    check_references(content)
    components = content.get("components", ())
    if expected is not None:
        _refuse("is not complete", _missing(components, expected))


def check_inventory(inventory: Inventory, expected: Expected) -> None:
    """Return if an inventory names what the image holds: the check that can be made before a push.

    Raises:
        SbomError: It does not.
    """
    _refuse("is not complete", _missing(inventory.components.values(), expected))


def check_schema(data: bytes) -> None:
    """Return if bytes are CycloneDX of this version by the strict JSON schema.

    Raises:
        SbomError: They are not.
    """
    try:
        text = data.decode()
        if json.loads(text).get("specVersion") != SPEC:
            raise SbomError(f"the SBOM is not CycloneDX {SPEC}", hint=_HINT)
        with _LOCK:
            found = _VALIDATOR.validate_str(text, all_errors=True)
    except (ValueError, AttributeError, RecursionError) as error:
        raise SbomError(f"the SBOM is no JSON object: {error}", hint=_HINT) from error
    _refuse("does not fit the schema", (str(error) for error in found or ()))


def check_references(content: Mapping[str, Any]) -> None:
    """Return if every reference leads to exactly one component.

    Raises:
        SbomError: One stands twice, or leads nowhere.
    """
    names = list(_names(content))
    twice = (f"{ref} stands twice" for ref, count in Counter(names).items() if count > 1)
    known = set(names)
    lost = (f"{ref} is named and not there" for ref in _named(content) if ref not in known)
    entries = Counter(item["ref"] for item in content.get("dependencies", ()))
    again = (f"{ref} has its dependencies told twice" for ref, count in entries.items() if count > 1)
    _refuse("has wrong references", itertools.chain(twice, lost, again))


def _names(content: Mapping[str, Any]) -> Iterator[str]:
    yield from _refs([content.get("metadata", {}).get("component", {})])
    yield from _refs(content.get("components", ()))


def _refs(components: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for part in components:
        if "bom-ref" in part:
            yield part["bom-ref"]
        yield from _refs(part.get("components", ()))


def _named(content: Mapping[str, Any]) -> Iterator[str]:
    for item in content.get("dependencies", ()):
        yield item["ref"]
        yield from item.get("dependsOn", ())
    for item in content.get("compositions", ()):
        yield from item.get("assemblies", ())
        yield from item.get("dependencies", ())
    for item in content.get("annotations", ()):
        yield from item.get("subjects", ())


def _missing(components: Iterable[Mapping[str, Any]], expected: Expected) -> Iterator[str]:
    """Yield what an image holds and the components do not name."""
    parts = list(components)
    named = {(part["name"], part.get("version", "")) for part in parts}
    packages = expected.packages
    if packages is None or not packages:
        yield "the image has no package database that can be read, so nothing can be said of its packages"
    else:
        yield from (f"package {name} {version}" for name, version in sorted(packages - named))
    told = {
        (path, _sha256(part))
        for part in parts
        if part["type"] == "device-driver"
        for path in (_property(part, PATH),)
    }
    yield from (
        f"kernel module {path}" for path, sha in sorted(expected.modules.items()) if (path, sha) not in told
    )


def _sha256(part: Mapping[str, Any]) -> str:
    return next((str(item["content"]) for item in part.get("hashes", ()) if item["alg"] == "SHA-256"), "")


def _property(part: Mapping[str, Any], name: str) -> str:
    return next((str(item["value"]) for item in part.get("properties", ()) if item["name"] == name), "")


def _refuse(what: str, problems: Iterable[str]) -> None:
    found = list(itertools.islice(problems, 1000))
    if found:
        shown = "; ".join(plain(one, 200) for one in found[:_SHOWN])
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise SbomError(f"the SBOM {what}: {shown}{more}", hint=_HINT)
