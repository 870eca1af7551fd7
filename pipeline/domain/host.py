"""The definition of one host: `images/<line>/hosts/<name>.toml`."""

from __future__ import annotations

from pydantic import Field

from pipeline.domain.definition import FileName, ImageDefinition, Name


class HostDefinition(ImageDefinition):
    """`images/<line>/hosts/<name>.toml`: a base with one host's users, policy, services and files."""

    parent: Name = Field(alias="from")
    """The base this host is built on."""
    hostname: Name
    """The host's name; unique in its line."""
    containerfile: FileName | None = None
    """Only where a command must run in the image: a file in `Containerfiles/<line>/`."""
