"""The parts CycloneDX documents are put together from, in the words of specification 1.6.

Rules: a part is JSON as it will be written, so that nothing is lost between a model and the file; text from
an image is made writable here and nowhere else (bytes that are no UTF-8 become visible escapes); an address
or a mail that is not plainly one is left out, because the schema would refuse the whole document for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.domain.canonical import Json

Part: TypeAlias = dict[str, Json]
"""A component, a property or another object of a document."""

SPEC = "1.6"
OWN = "pipeline:"
"""What the names of this program's own properties begin with."""

PATH = f"{OWN}path"
"""Property that names the file of the image a component is."""

_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]{1,1000}")
_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_PERSON = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<mail>[^<>\s]+)>\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """Who supplies something: name, address of its pages and mail, both of which may be ""."""

    name: str
    url: str = ""
    mail: str = ""

    def part(self) -> Part:
        """Return it as a document has it."""
        found: Part = {"name": shown(self.name)}
        if is_url(self.url):
            found["url"] = [self.url]
        if _MAIL.fullmatch(self.mail):
            found["contact"] = [{"name": shown(self.name), "email": self.mail}]
        return found


def organisation(text: str) -> Organisation | None:
    """Return whom a text like `Name <mail>` names; None for an empty one."""
    found = _PERSON.fullmatch(text)
    if found is not None:
        return Organisation(name=found["name"] or found["mail"], mail=found["mail"])
    return Organisation(name=text.strip()) if text.strip() else None


def shown(text: str) -> str:
    r"""Return text that UTF-8 can write: bytes that were none before show as `\\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_url(text: str) -> bool:
    """Whether a text is plainly an address on the web."""
    return _URL.fullmatch(text) is not None


def properties(values: Mapping[str, str]) -> list[Json]:
    """Return named values as properties, sorted; empty values are left out."""
    return [{"name": name, "value": shown(value)} for name, value in sorted(values.items()) if value]


def property_of(part: Mapping[str, Json], name: str) -> str:
    """Return a component's first property of a name, or ""."""
    found = part.get("properties")
    for item in found if isinstance(found, list) else ():
        if isinstance(item, dict) and item.get("name") == name:
            return str(item.get("value", ""))
    return ""


def supplied(part: Part, supplier: Organisation) -> Part:
    """Return a component that names its supplier: its own, or else this one."""
    if "supplier" in part:
        return part
    return {**part, "supplier": supplier.part(), "manufacturer": supplier.part()}


def hashes(data: bytes) -> list[Json]:
    """Return SHA-256 and SHA-512 of bytes as a component's hashes."""
    return [
        {"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()},
        {"alg": "SHA-512", "content": hashlib.sha512(data).hexdigest()},
    ]


def occurrences(paths: Iterable[str]) -> Part:
    """Return the evidence that something was found at these paths."""
    return {"occurrences": [{"location": shown(path)} for path in sorted(set(paths))]}


def places(part: Mapping[str, Json]) -> list[str]:
    """Return the paths at which a component was found."""
    evidence = part.get("evidence")
    found = evidence.get("occurrences") if isinstance(evidence, dict) else None
    return (
        [str(item["location"]) for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    )


def file_facts(path: str, *, executable: bool, structured: bool = True) -> dict[str, str]:
    """Return the properties BSI TR-03183-2 asks of a component that is one file."""
    return {
        PATH: path,
        "bsi:component:filename": path.rpartition("/")[2],
        "bsi:component:executable": "executable" if executable else "non-executable",
        "bsi:component:archive": "no archive",
        "bsi:component:structured": "structured" if structured else "unstructured",
    }
