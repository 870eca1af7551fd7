"""The part of a host's definition that says which containers run, and as whom.

Rules: one application, one service user (or root, said explicitly); images by digest; secrets by name
only; nothing that systemd or a shell would expand (`$`, backslash) is allowed in arguments and variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.domain.definition import Definition, ImagePath, Mode, Name, Pattern, Source

APP_UIDS = range(2000, 10_000)
"""User ids of applications; people have those below."""

_PLAIN = r"[^\x00-\x1f\x7f$\\]"

Argument = Annotated[
    str, Pattern(f"{_PLAIN}+", "plain argument: no control characters, '$' or backslash", 4096)
]
Value = Annotated[str, Pattern(f"{_PLAIN}*", "plain value: no control characters, '$' or backslash", 4096)]
Variable = Annotated[str, Pattern(r"[A-Za-z_][A-Za-z0-9_]*", "name of an environment variable")]
Publish = Annotated[
    str,
    Pattern(
        r"(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}:|\[[0-9a-fA-F:]+\]:)?[0-9]{1,5}:[0-9]{1,5}(?:/(?:tcp|udp))?",
        "published port: [address:]host:container[/tcp|/udp]",
    ),
]
Volume = Annotated[
    str,
    Pattern(
        r"(?:/[A-Za-z0-9._/-]*|[A-Za-z0-9][A-Za-z0-9._-]*):/[A-Za-z0-9._/-]+(?::[A-Za-z0-9,=]+)?",
        "volume: source:/target[:options], the source an absolute path or a volume's name",
        1024,
    ),
]
Device = Annotated[str, Pattern(r"[A-Za-z0-9/][A-Za-z0-9._/:=@-]*", "device path or CDI name")]
Capability = Annotated[str, Pattern(r"[A-Z][A-Z_]*", "capability, such as NET_BIND_SERVICE")]
SecretName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*", "name of a secret")]
Memory = Annotated[str, Pattern(r"[0-9]+[KMGT]?", "amount of memory, such as 512M")]
UserName = Annotated[
    str, Pattern(r"[a-z_][a-z0-9_-]*", "user name: lower-case letters, digits, '_' and '-'", longest=31)
]


class Secret(Definition):
    """A Podman secret, by name; its value is put on the host once and never lies in an image."""

    type: Literal["mount", "env"] = "mount"
    """Give it as a file or as an environment variable."""
    target: Annotated[str, Pattern(r"[A-Za-z0-9_/][A-Za-z0-9._/-]*", "file or variable name")] | None = None
    """File in /run/secrets (or absolute path), or variable; by default the secret's own name."""


class Container(Definition):
    """One container of an application."""

    image: Source
    """The image by digest: registry/path[:tag]@sha256:…"""
    exec: tuple[Argument, ...] = ()
    """Arguments; a list that is given as a whole and never merged."""
    environment: Mapping[Variable, Value] = Field(default_factory=dict)
    """Environment variables; never a secret."""
    volumes: tuple[Volume, ...] = ()
    """What is mounted: source:/target[:options]."""
    devices: tuple[Device, ...] = ()
    """Devices, such as nvidia.com/gpu=all."""
    secrets: Mapping[SecretName, Secret] = Field(default_factory=dict)
    """Podman secrets by name."""
    capabilities: tuple[Capability, ...] = ()
    """Capabilities it keeps; all others are dropped."""
    read_only: bool = True
    """Whether the container's own file system is read-only."""
    tmpfs: tuple[ImagePath, ...] = ()
    """Writable paths in memory."""
    user: Annotated[str, Pattern(r"[a-z0-9_][a-z0-9_-]*(?::[a-z0-9_-]+)?", "user[:group]")] | None = None
    """User inside the container; by default the image's own."""
    memory_max: Memory | None = None
    """Most memory it may use."""


class App(Definition):
    """An application: one or more containers under one user."""

    description: Value = ""
    """One sentence for people."""
    rootful: bool = False
    """Run as root. One application a host may: the proxy."""
    uid: Annotated[int, Field(ge=APP_UIDS.start, lt=APP_UIDS.stop)] | None = None
    """User id of its service user; the same for ever, since its files in /var keep it."""
    user: UserName | None = None
    """Name of its service user; by default the application's name."""
    subid_start: Annotated[int, Field(ge=100_000, lt=1 << 32)] | None = None
    """First of its subordinate user and group ids; by default computed from uid, so that none overlap."""
    subid_count: int = Field(default=65_536, ge=65_536, le=1 << 20)
    """How many subordinate ids it has."""
    network: Literal["default", "host", "none"] = "default"
    """Network of its containers."""
    publish: tuple[Publish, ...] = ()
    """Ports it offers on the host: [address:]host:container[/tcp|/udp]."""
    directories: Mapping[ImagePath, Mode] = Field(default_factory=dict)
    """Directories below /var that are made for it, with their mode."""
    containers: Mapping[Name, Container] = Field(min_length=1)
    """Its containers; several share one pod."""

    @model_validator(mode="after")
    def _user_or_root(self) -> App:
        if self.rootful and (self.uid is not None or self.user is not None):
            raise ValueError("a rootful application has no uid and no user: it runs as root")
        if not self.rootful and self.uid is None:
            raise ValueError("a rootless application needs the key 'uid'")
        if self.network != "default" and self.publish:
            raise ValueError(f"ports cannot be published with network = {self.network!r}")
        return self

    @property
    def subids(self) -> range:
        """The subordinate ids: as given, or a block of its own for each uid."""
        start = self.subid_start
        if start is None:
            start = (1 << 19) + ((self.uid or APP_UIDS.start) - APP_UIDS.start) * 65_536
        return range(start, start + self.subid_count)


def user_of(name: str, app: App) -> str:
    """Return the name of the user an application runs as."""
    return "root" if app.rootful else app.user or name
