"""The definitions of hosts and of the roles they share.

Rules: a role may say whatever a host may, except which host it is; people are given SSH keys, not
passwords; every exception to a rule stands in the host's or role's table [unsafe], with a reason.
How roles and host become one is said in `pipeline.domain.merge`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pipeline.domain.app import App, Argument, SecretName, UserName
from pipeline.domain.definition import (
    Definition,
    FileName,
    ImageDefinition,
    ImagePath,
    Mode,
    Name,
    Pattern,
    RelativePath,
    Scope,
    Sentence,
    Text,
    Word,
)

USER_UIDS = range(1000, 2000)
"""User ids of people."""


def _ssh_key(text: str) -> str:
    kind, _, rest = text.partition(" ")
    try:
        raw = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error as error:
        raise ValueError("the key's second word is no base64") from error
    length = int.from_bytes(raw[:4], "big")
    if raw[4 : 4 + length] != kind.encode() or len(raw) <= 4 + length:
        raise ValueError(f"the key does not hold what its first word says ({kind})")
    return text


SshKey = Annotated[
    str,
    Pattern(
        r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
        r" [A-Za-z0-9+/]+=* ?[^\x00-\x1f\x7f]*",
        "SSH public key: one line of an authorized_keys file, without options",
        8192,
    ),
    AfterValidator(_ssh_key),
]
PasswordHash = Annotated[
    str, Pattern(r"\$(?:y|gy|7|6|5|2b)\$[A-Za-z0-9./$=,]+", "password hash (crypt(5), at least sha256)", 512)
]
SudoRule = Annotated[
    str, Pattern(r"[A-Za-z%!(][^\x00-\x1f\x7f\\#]*", "sudo rule: what follows the user's name", 1024)
]
Unit = Annotated[
    str,
    Pattern(
        r"[A-Za-z0-9][A-Za-z0-9:_.@-]*\.(?:service|socket|timer|path|mount|target|slice)",
        "unit name with its suffix",
    ),
]
Target = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9:_.@-]*\.target", "target unit")]
Karg = Annotated[str, Pattern(r"[!-~]+", "kernel argument: no spaces")]
SysctlKey = Annotated[str, Pattern(r"[a-z0-9][A-Za-z0-9_./*-]*", "sysctl key")]
Identifier = Annotated[
    str, Pattern(r"[a-z][a-z0-9_]*", "name of a value: lower-case letters, digits and '_'")
]
Zone = Annotated[str, Pattern(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}", "time zone, such as Etc/UTC")]
Owner = Annotated[str, Pattern(r"[a-z_][a-z0-9_-]*|[0-9]{1,9}", "user or group, by name or number")]
Hostname = Annotated[
    str,
    Pattern(
        r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*",
        "host name",
        longest=64,
    ),
]
KeyPath = Annotated[
    str, Pattern(r"[a-z0-9_]+(?:\.[^\x00-\x1f\x7f]+)*", "dotted key of this definition", 1024)
]


class Person(Definition):
    """A person who may log in."""

    uid: int = Field(ge=USER_UIDS.start, lt=USER_UIDS.stop)
    """User id; the same for ever, since files in /var keep it."""
    description: Annotated[str, Pattern(r"[^\x00-\x1f\x7f:\"\\%]*", "name without colon or quotes")] = ""
    """Full name."""
    groups: tuple[UserName, ...] = ()
    """Further groups."""
    shell: ImagePath = "/bin/bash"
    """Login shell."""
    ssh_keys: tuple[SshKey, ...] = ()
    """Public keys that may log in."""
    sudo: tuple[SudoRule, ...] = ()
    """Sudo rules, each what follows the user's name, such as ALL=(ALL:ALL) ALL."""
    password_hash: PasswordHash | None = None
    """Password as a crypt(5) hash; without one the password is locked."""


class Group(Definition):
    """A group."""

    gid: int | None = Field(default=None, ge=1, lt=60_000)
    """Group id; by default one is chosen on the host."""
    sudo: tuple[SudoRule, ...] = ()
    """Sudo rules for its members."""


class File(Definition):
    """A file of the image: literal text, a copy, or a template."""

    content: str | None = Field(default=None, max_length=65_536)
    """The text itself. Exactly one of content, source and template is given."""
    source: RelativePath | None = None
    """A file in `images/<line>/files/`, copied as it is."""
    template: RelativePath | None = None
    """A file in `images/<line>/templates/`; `{{ name }}` becomes a value."""
    mode: Mode = "0644"
    """Permission bits in octal digits."""
    owner: Owner = "root"
    """Owner: root, a user of this definition, or a number."""
    group: Owner = "root"
    """Group: root, a group of this definition, or a number."""

    @model_validator(mode="after")
    def _one_origin(self) -> File:
        if sum(one is not None for one in (self.content, self.source, self.template)) != 1:
            raise ValueError("exactly one of 'content', 'source' and 'template' is allowed and needed")
        return self


class UnitTable(Definition):
    """A systemd unit: one of the image's that is enabled or masked, or one that the definition brings."""

    source: RelativePath | None = None
    """A unit file in `images/<line>/files/`."""
    template: RelativePath | None = None
    """A unit file in `images/<line>/templates/`."""
    enable: bool = True
    """Start it at boot."""
    wanted_by: Target = "multi-user.target"
    """The target that starts it."""
    mask: bool = False
    """Make it impossible to start."""
    credentials: Mapping[SecretName, SecretName] = Field(default_factory=dict)
    """Credential's name in the unit to its name in the host's encrypted credential store."""

    @model_validator(mode="after")
    def _consistent(self) -> UnitTable:
        if self.source is not None and self.template is not None:
            raise ValueError("only one of 'source' and 'template' is allowed")
        if self.mask and (self.source or self.template or self.credentials):
            raise ValueError("a masked unit has no file and no credentials")
        return self


class Alloy(Definition):
    """Grafana Alloy on the host itself, not in a container: it collects logs and metrics."""

    template: RelativePath
    """Its configuration, a file in `images/<line>/templates/`."""
    program: ImagePath = "/usr/bin/alloy"
    """The program; its unit waits, without failing, where the image has none."""
    uid: int = Field(default=900, ge=200, lt=1000)
    """User id of its system user."""
    groups: tuple[UserName, ...] = ("systemd-journal", "adm")
    """Groups that let it read logs."""
    arguments: tuple[Argument, ...] = ()
    """Further arguments of `alloy run`."""
    credentials: Mapping[SecretName, SecretName] = Field(default_factory=dict)
    """Credential's name in the unit to its name in the host's encrypted credential store."""


class Trust(Definition):
    """Which images the host accepts, beside the project's own."""

    allow: tuple[Scope, ...] = ()
    """Scopes accepted without a signature, as narrow as can be: registry/path."""
    signed: Mapping[Scope, RelativePath] = Field(default_factory=dict)
    """Scopes accepted with a signature by a public key, a file in the line's folder."""


class Unsafe(Definition):
    """Exceptions to rules: the dotted key that breaks the rule, and the reason."""

    second_rootful: Mapping[KeyPath, Sentence] = Field(default_factory=dict)
    """Applications that run as root beside the first, such as "apps.legacy"."""
    overlapping_subids: Mapping[KeyPath, Sentence] = Field(default_factory=dict)
    """Applications whose subordinate ids overlap another's, such as "apps.legacy"."""
    unpinned_image: Mapping[KeyPath, Sentence] = Field(default_factory=dict)
    """Containers whose image has no digest, such as "apps.web.containers.server"."""
    literal_secret: Mapping[KeyPath, Sentence] = Field(default_factory=dict)
    """Values that look like a secret and are none, such as "files./etc/example.conf"."""


class Shared(ImageDefinition):
    """What roles and hosts both may say."""

    timezone: Zone | None = None
    """Time zone, such as Etc/UTC."""
    locale: Annotated[str, Pattern(r"[A-Za-z0-9_.@-]+", "locale, such as C.UTF-8")] | None = None
    """Value of LANG."""
    kargs: tuple[Karg, ...] = ()
    """Kernel arguments."""
    kernel_modules: tuple[Word, ...] = ()
    """Kernel modules loaded at boot."""
    sysctl: Mapping[SysctlKey, Text | int] = Field(default_factory=dict)
    """Kernel settings."""
    values: Mapping[Identifier, Text | int | bool] = Field(default_factory=dict)
    """Values for templates."""
    users: Mapping[UserName, Person] = Field(default_factory=dict)
    """People."""
    groups: Mapping[UserName, Group] = Field(default_factory=dict)
    """Groups."""
    apps: Mapping[Name, App] = Field(default_factory=dict)
    """Applications in containers."""
    alloy: Alloy | None = None
    """Logs and metrics, collected on the host."""
    files: Mapping[ImagePath, File] = Field(default_factory=dict)
    """Files below /etc and /usr."""
    units: Mapping[Unit, UnitTable] = Field(default_factory=dict)
    """systemd units."""
    trust: Trust = Trust()
    """Which images the host accepts."""
    unsafe: Unsafe = Unsafe()
    """Exceptions to rules, each with a reason."""


class RoleDefinition(Shared):
    """`images/<line>/roles/<name>.toml`: what several hosts share."""


class HostDefinition(Shared):
    """`images/<line>/hosts/<name>.toml`: a base with one host's users, policy, services and files."""

    parent: Name = Field(alias="from")
    """The base this host is built on."""
    hostname: Hostname
    """The host's name; unique in its line."""
    hostid: Annotated[str, Pattern(r"[0-9a-f]{8}", "host id: eight hexadecimal digits")] | None = None
    """Id by which ZFS tells this host from others that see the same disks; unique in its line."""
    roles: tuple[Name, ...] = ()
    """Roles this host has; see `roles/`."""
    drop: tuple[KeyPath, ...] = ()
    """Dotted keys whose values from roles are left out, such as users.bob or kargs."""
    containerfile: FileName | None = None
    """Only where a command must run in the image: a file in `Containerfiles/<line>/`."""
