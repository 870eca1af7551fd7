"""Applications as quadlets: Podman's own unit files, from which its generator makes services.

Rules: what runs as root lies in /usr/share/containers/systemd, what runs as a service user in
/etc/containers/systemd/users/<uid>, the only place Podman reads for one user; all capabilities are
dropped but those named; nothing gains privileges; several containers of one application share a pod.
Source: podman-systemd.unit(5), Podman 5.4.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.app import App, Container
from pipeline.domain.catalogue import Instance
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.entries import file, lines, made_from, plain, quoted

ROOTFUL = "/usr/share/containers/systemd"
ROOTLESS = "/etc/containers/systemd/users"
_PULL_SECONDS = 900
"""A first start pulls the image; systemd's own limit of 90 s is too short for that."""


def containers(host: Instance) -> Iterator[TreeEntry]:
    """Yield the quadlets of all applications."""
    head = made_from(host.file)
    for name, app in sorted(host.definition.apps.items()):
        folder = ROOTFUL if app.rootful else f"{ROOTLESS}/{app.uid}"
        if len(app.containers) > 1:
            yield file(f"{folder}/{name}.pod", lines(head, _pod(name, app)))
        for part, container in sorted(app.containers.items()):
            unit = name if len(app.containers) == 1 else f"{name}-{part}"
            text = lines(head, _container(name, unit, app, container))
            yield file(f"{folder}/{unit}.container", text)


def _unit(name: str, app: App) -> list[str]:
    body = ["[Unit]", f"Description={plain(app.description) or name}"]
    if app.rootful:
        body += ["Wants=network-online.target", "After=network-online.target"]
    return body


def _install(app: App) -> list[str]:
    return ["", "[Install]", f"WantedBy={'multi-user.target' if app.rootful else 'default.target'}"]


def _pod(name: str, app: App) -> list[str]:
    return [*_unit(name, app), "", "[Pod]", f"PodName={name}", *_network(app), *_install(app)]


def _network(app: App) -> list[str]:
    network = [] if app.network == "default" else [f"Network={app.network}"]
    return [*network, *(f"PublishPort={one}" for one in app.publish)]


def _container(name: str, unit: str, app: App, container: Container) -> list[str]:
    alone = len(app.containers) == 1
    body = [*_unit(unit, app), "", "[Container]", f"ContainerName={unit}", f"Image={container.image}"]
    if container.exec:
        body.append("Exec=" + " ".join(quoted(one) for one in container.exec))
    body += _network(app) if alone else [f"Pod={name}.pod"]
    body += [
        f"Environment={quoted(f'{key}={value}')}" for key, value in sorted(container.environment.items())
    ]
    body += [f"Secret={_secret(key, container)}" for key in sorted(container.secrets)]
    body += [f"Volume={one}" for one in container.volumes]
    body += [f"AddDevice={one}" for one in container.devices]
    body += [f"Tmpfs={one}" for one in container.tmpfs]
    body += _confinement(container)
    body += ["", "[Service]", "Restart=always", f"TimeoutStartSec={_PULL_SECONDS}"]
    if container.memory_max is not None:
        body.append(f"MemoryMax={container.memory_max}")
    return [*body, *(_install(app) if alone else [])]


def _secret(name: str, container: Container) -> str:
    secret = container.secrets[name]
    target = [] if secret.target is None else [f"target={secret.target}"]
    return ",".join([name, f"type={secret.type}", *target])


def _confinement(container: Container) -> list[str]:
    user, _, group = (container.user or "").partition(":")
    return [
        "DropCapability=all",
        *(f"AddCapability=CAP_{one.removeprefix('CAP_')}" for one in container.capabilities),
        "NoNewPrivileges=true",
        f"ReadOnly={'true' if container.read_only else 'false'}",
        *([f"User={user}"] if user else []),
        *([f"Group={group}"] if group else []),
        "Pull=missing",
    ]
