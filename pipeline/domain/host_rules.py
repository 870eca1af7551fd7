"""What a host's definition must not say, beyond what types can hold.

Rules: one application as root; no overlapping ids; every image by digest and from a registry the host
trusts; no port twice; no secret in plain text; files below /etc and /usr only, and not through a link. Four
of these can be excused in the table [unsafe], with a reason; an excuse for nothing is an error too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from pipeline.domain.app import App, user_of
from pipeline.domain.host import HostDefinition
from pipeline.domain.nearest import nearest
from pipeline.domain.prepared import BUILT_IN
from pipeline.domain.secretlike import secret_kind, secret_variable

_TOPS = ("/etc/", "/usr/")
_UNPRIVILEGED = 1024
_UNPRIVILEGED_KEY = "net.ipv4.ip_unprivileged_port_start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that must not be: where, what, what instead, and the excuse that would allow it."""

    key: str
    message: str
    hint: str
    excuse: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a host is judged against.

    Attributes:
        scopes: Image scopes the host will trust: the project's own and those of the settings.
        links: Symlinks of the persistence layout.
        texts: Rendered text of each key that brings a file, see `prepared`.
    """

    scopes: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, bytes] = field(default_factory=dict)


def faults(host: HostDefinition, around: Surroundings) -> tuple[Fault, ...]:
    """Return every fault that is not excused, and every excuse that excuses nothing."""
    found = [fault for rule in _RULES for fault in rule(host, around)]
    excuses = {name: getattr(host.unsafe, name) for name in type(host.unsafe).model_fields}
    left = [fault for fault in found if fault.key not in excuses.get(fault.excuse, {})]
    used = {(fault.excuse, fault.key) for fault in found}
    for name, table in excuses.items():
        for key in table:
            if (name, key) not in used:
                keys = [fault.key for fault in found if fault.excuse == name]
                message = f"excuses nothing: {key!r} does not break this rule"
                hint = nearest(key, keys) if keys else "take the excuse away"
                left.append(Fault(key=f"unsafe.{name}.{key}", message=message, hint=hint))
    return tuple(left)


def excused(host: HostDefinition) -> tuple[str, ...]:
    """Return one loud line for each rule this host is excused from."""
    return tuple(
        f"{host.hostname}: unsafe.{name} for {key}: {reason}"
        for name in type(host.unsafe).model_fields
        for key, reason in getattr(host.unsafe, name).items()
    )


def _one_rootful(host: HostDefinition, _: Surroundings) -> Iterator[Fault]:
    rootful = [f"apps.{name}" for name, app in host.apps.items() if app.rootful]
    plain = [key for key in rootful if key not in host.unsafe.second_rootful]
    for key in rootful:
        if len(rootful) > 1 and key != (plain or rootful)[0]:
            message = f"runs as root beside {(plain or rootful)[0]}; one application a host may"
            hint = "give it a uid of its own, or say why not in [unsafe.second_rootful]"
            yield Fault(key=key, message=message, hint=hint, excuse="second_rootful")


def _subids(host: HostDefinition, _: Surroundings) -> Iterator[Fault]:
    rootless = [(name, app) for name, app in host.apps.items() if not app.rootful]
    for name, app in rootless:
        if app.subids.stop > 1 << 32:
            message = f"subordinate ids end at {app.subids.stop}, beyond 32 bits"
            yield Fault(key=f"apps.{name}", message=message, hint="begin lower with subid_start")
    for (one, first), (two, second) in combinations(rootless, 2):
        if first.subids.start < second.subids.stop and second.subids.start < first.subids.stop:
            theirs = f"those of apps.{one} ({_shown(first.subids)})"
            message = f"subordinate ids {_shown(second.subids)} overlap {theirs}"
            hint = "leave subid_start out: it is computed from uid; or say why in [unsafe.overlapping_subids]"
            yield Fault(key=f"apps.{two}", message=message, hint=hint, excuse="overlapping_subids")


def _shown(ids: range) -> str:
    return f"{ids.start}-{ids.stop - 1}"


def _accounts(host: HostDefinition) -> Iterator[tuple[str, str, int]]:
    """Yield key, user name and uid of everybody."""
    for name, person in host.users.items():
        yield f"users.{name}", name, person.uid
    for name, app in host.apps.items():
        if not app.rootful and app.uid is not None:
            yield f"apps.{name}", user_of(name, app), app.uid
    if host.alloy is not None:
        yield "alloy", "alloy", host.alloy.uid


def _distinct_accounts(host: HostDefinition, _: Surroundings) -> Iterator[Fault]:
    names: dict[str, str] = {"root": "the system"}
    uids: dict[int, str] = {}
    for key, name, uid in _accounts(host):
        if (other := names.setdefault(name, key)) != key:
            hint = "give it another name (an application: `user`)"
            yield Fault(key=key, message=f"user name {name!r} is already used by {other}", hint=hint)
        if (other := uids.setdefault(uid, key)) != key:
            hint = "give each user an id of its own, and keep it for ever"
            yield Fault(key=f"{key}.uid", message=f"user id {uid} is already used by {other}", hint=hint)
    for name, group in host.groups.items():
        if group.gid in uids:
            message = f"group id {group.gid} is already that of {uids[group.gid]}"
            yield Fault(key=f"groups.{name}.gid", message=message, hint="choose another id, or none")


def _images(host: HostDefinition, around: Surroundings) -> Iterator[Fault]:
    scopes = (*around.scopes, *host.trust.allow, *host.trust.signed)
    for key, image in _all_images(host):
        name = image.partition("@")[0]
        if "@sha256:" not in image:
            hint = "append @sha256:… (skopeo inspect shows it), or say why not in [unsafe.unpinned_image]"
            message = f"{image} has no digest: what runs could change without a new release"
            yield Fault(key=key, message=message, hint=hint, excuse="unpinned_image")
        registry = name.partition("/")[0]
        if not ("." in registry or ":" in registry or registry == "localhost"):
            hint = f"write the whole name, such as docker.io/{name}"
            yield Fault(key=f"{key}.image", message=f"{image} names no registry", hint=hint)
        elif scopes and not any(_within(name, scope) for scope in scopes):
            hint = f"add the narrowest scope to trust.allow; {nearest(name, scopes)}"
            yield Fault(key=f"{key}.image", message=f"no scope the host trusts holds {name}", hint=hint)


def _all_images(host: HostDefinition) -> Iterator[tuple[str, str]]:
    for name, app in host.apps.items():
        for part, container in app.containers.items():
            yield f"apps.{name}.containers.{part}", container.image


def _within(image: str, scope: str) -> bool:
    return image == scope or image.startswith((f"{scope}/", f"{scope}:"))


def _ports(host: HostDefinition, _: Surroundings) -> Iterator[Fault]:
    lowest = host.sysctl.get(_UNPRIVILEGED_KEY, _UNPRIVILEGED)
    taken: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for name, app in host.apps.items():
        for index, publish in enumerate(app.publish):
            address, port, protocol = _published(publish)
            key = f"apps.{name}.publish.{index}"
            if not 0 < port < 1 << 16:
                yield Fault(key=key, message=f"{port} is no port", hint="choose one from 1 to 65535")
            for other, where in taken.setdefault((port, protocol), []):
                if other == address or not other or not address:
                    message = f"port {port}/{protocol} is already published by {where}"
                    yield Fault(key=key, message=message, hint="choose another port on the host")
            taken[port, protocol].append((address, f"apps.{name}"))
            if not app.rootful and port < int(lowest):
                message = f"port {port} is below {lowest}, which a rootless application cannot open"
                hint = f"publish a higher port behind the proxy, or set sysctl {_UNPRIVILEGED_KEY}"
                yield Fault(key=key, message=message, hint=hint)


def _published(text: str) -> tuple[str, int, str]:
    ports, _, protocol = text.partition("/")
    address, _, ports = ports.rpartition(":")[0].rpartition(":")
    return ("" if address in ("0.0.0.0", "[::]") else address), int(ports), protocol or "tcp"  # noqa: S104


def _places(host: HostDefinition, around: Surroundings) -> Iterator[Fault]:
    for path in host.files:
        key = f"files.{path}"
        if not path.startswith(_TOPS):
            hint = "write it below /etc or /usr; what a host changes is made by tmpfiles.d or its service"
            yield Fault(
                key=key, message="lies outside /etc and /usr, where an image's files belong", hint=hint
            )
        for link, target in around.links.items():
            if path.startswith(f"{link}/") or path == link:
                hint = "choose a path of the image itself"
                yield Fault(key=key, message=f"{link} is a link to {target} in this image", hint=hint)
    for name, app in host.apps.items():
        for path in app.directories:
            if not path.startswith("/var/"):
                hint = "state lives below /var"
                yield Fault(key=f"apps.{name}.directories.{path}", message="is not below /var", hint=hint)


def _values(host: HostDefinition, _: Surroundings) -> Iterator[Fault]:
    for name in set(host.values) & set(BUILT_IN):
        hint = "choose another name"
        yield Fault(key=f"values.{name}", message=f"{name!r} is given by the pipeline itself", hint=hint)


def _owners(host: HostDefinition, _: Surroundings) -> Iterator[Fault]:
    users = {"root", *(name for _, name, _ in _accounts(host))}
    groups = users | {name for name, group in host.groups.items() if group.gid is not None}
    for path, file in host.files.items():
        for what, name, known in (("owner", file.owner, users), ("group", file.group, groups)):
            if not name.isdigit() and name not in known:
                message = f"{name!r} has no number here: the layer needs one"
                yield Fault(key=f"files.{path}.{what}", message=message, hint=nearest(name, known))


def _secrets(host: HostDefinition, around: Surroundings) -> Iterator[Fault]:
    for key, kind in _secret_values(host, around):
        message = f"looks like {kind}; an image is read by everybody who can pull it"
        hint = (
            "name a Podman secret or a systemd credential; if it is none, say so in [unsafe.literal_secret]"
        )
        yield Fault(key=key, message=message, hint=hint, excuse="literal_secret")


def _secret_values(host: HostDefinition, around: Surroundings) -> Iterator[tuple[str, str]]:
    for key, text in around.texts.items():
        if kind := secret_kind(text.decode("utf-8", "replace")):
            yield key, kind
    for name, value in host.values.items():
        if kind := secret_variable(name, str(value)):
            yield f"values.{name}", kind
    for index, karg in enumerate(host.kargs):
        if kind := secret_kind(karg):
            yield f"kargs.{index}", kind
    for name, app in host.apps.items():
        yield from _app_secrets(f"apps.{name}", app)


def _app_secrets(where: str, app: App) -> Iterator[tuple[str, str]]:
    for part, container in app.containers.items():
        for name, value in container.environment.items():
            if kind := secret_variable(name, value):
                yield f"{where}.containers.{part}.environment.{name}", kind
        for index, argument in enumerate(container.exec):
            if kind := secret_kind(argument.lstrip("-")):
                yield f"{where}.containers.{part}.exec.{index}", kind


_RULES: tuple[Callable[[HostDefinition, Surroundings], Iterator[Fault]], ...] = (
    _one_rootful,
    _subids,
    _distinct_accounts,
    _images,
    _ports,
    _places,
    _owners,
    _values,
    _secrets,
)
