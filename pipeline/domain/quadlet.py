"""Which container images a quadlet starts: those its own file names, and those of its Kubernetes file.

Rules: a key counts in a unit and in its drop-ins; a `.kube` unit names Kubernetes files, looked for in the
image and nowhere else; of those every container of every kind of object counts, as do images that are mounted
as volumes. Text is hostile: a file is read up to a size, YAML as plain strings, and each of its objects once,
however often an alias repeats it.
Sources: podman-systemd.unit(5), podman-kube-play(1), Kubernetes' PodSpec.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

import yaml

FOLDERS = ("/etc/containers/systemd/", "/usr/share/containers/systemd/", "/usr/etc/containers/systemd/")
LARGEST = 1 << 18
"""Bytes of a unit or a Kubernetes file that are read: a large one takes seconds, and is none of these."""

_NAMING = (".container", ".image", ".volume")
_KUBE = ".kube"
_OTHER_UNITS = (".image", ".build")
_IMAGE = re.compile(r"^[ \t]*Image[ \t]*=[ \t]*(?P<value>.*?)[ \t]*$", re.MULTILINE)
_YAML = re.compile(r"^[ \t]*Yaml[ \t]*=[ \t]*(?P<value>.*?)[ \t]*$", re.MULTILINE)
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_MERGE = "<<"
_UNREADABLE = (("", ""),)


def unit_of(path: str) -> str:
    """Return the unit a file of a quadlet folder belongs to: its own path, or that of the unit it adds to."""
    return path.rpartition("/")[0].removesuffix(".d") if path.endswith(".conf") else path


def is_quadlet(path: str) -> bool:
    """Whether a file is a quadlet that may name container images, or a drop-in of one."""
    return path.startswith(FOLDERS) and unit_of(path).endswith((*_NAMING, _KUBE))


def is_kube(path: str) -> bool:
    """Whether a file is a quadlet, or a drop-in of one, whose images a Kubernetes file names."""
    return path.startswith(FOLDERS) and unit_of(path).endswith(_KUBE)


def images(data: bytes) -> tuple[str, ...]:
    """Return the container images a unit names itself, in its order."""
    return tuple(name for name in _values(_IMAGE, data) if not name.endswith(_OTHER_UNITS))


def kubernetes_files(path: str, data: bytes) -> tuple[str, ...]:
    """Return the absolute paths of the Kubernetes files a `.kube` unit names.

    Args:
        path: The unit or its drop-in: a path that is not absolute starts in the unit's folder.
        data: Its bytes.
    """
    folder = unit_of(path).rpartition("/")[0]
    found = (posixpath.normpath(posixpath.join(folder, value)) for value in _values(_YAML, data))
    return tuple(dict.fromkeys(found))


def kubernetes_images(data: bytes) -> tuple[tuple[str, str], ...]:
    """Return name of the container (or volume) and image of all a Kubernetes file starts, in its order.

    The image is "" where none can be read; one pair of two "" stands for a file that is no YAML or too large.
    """
    if len(data) > LARGEST:
        return _UNREADABLE
    try:
        # Strings only: a tag makes nothing, and no scalar of an odd form stops it.
        documents = list(yaml.load_all(data, Loader=yaml.BaseLoader))
        return tuple(pair for document in documents for pair in _named(document, set()))
    except (yaml.YAMLError, ValueError, RecursionError):
        return _UNREADABLE


def _values(key: re.Pattern[str], data: bytes) -> Iterator[str]:
    text = data[:LARGEST].decode("utf-8", "backslashreplace")
    values = (found["value"].strip("\"'") for found in key.finditer(text))
    yield from (value for value in values if value)


def _named(value: Any, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Yield name and image of every container below a value."""
    if not isinstance(value, dict | list) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list):
        for item in value:
            yield from _named(item, seen)
        return
    for key, item in value.items():
        if isinstance(item, list) and id(item) not in seen and key in _CONTAINERS:
            seen.add(id(item))
            yield from (_container(one) for one in item)
        elif isinstance(item, list) and id(item) not in seen and key == "volumes":
            seen.add(id(item))
            yield from (_volume(one) for one in item if _get(one, "image") is not None)
        else:
            yield from _named(item, seen)


def _container(item: Any) -> tuple[str, str]:
    return _text(_get(item, "name")), _text(_get(item, "image"))


def _volume(item: Any) -> tuple[str, str]:
    return _text(_get(item, "name")), _text(_get(_get(item, "image"), "reference"))


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _get(item: Any, key: str) -> Any:
    """Return a value of an object, its own or else one it merges in; None where it has none."""
    waiting, seen = [item], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(reversed(one))
        elif isinstance(one, dict) and id(one) not in seen:
            seen.add(id(one))
            if key in one:
                return one[key]
            waiting.append(one.get(_MERGE))
    return None
