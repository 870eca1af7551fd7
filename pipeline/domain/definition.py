"""The definition files as typed, frozen values: upstream, base, what all images share, and the texts in them.

Rules: an unknown key is an error; nothing is converted (a number is no text); every text that reaches
another program has a pattern, so that no definition can smuggle in an option or a second line.
What a file means together with its parents is said in `pipeline.domain.catalogue`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from pipeline.domain.image import NAME


class Definition(BaseModel):
    """Base of every table in a definition file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


@dataclass(frozen=True, slots=True)
class Pattern:
    """Wants the whole text to match, and says so in the JSON Schema too.

    Attributes:
        expression: A regular expression that Python and ECMA 262 read alike.
        what: What such a text is called in a message.
        longest: Most characters allowed.
    """

    expression: str
    what: str
    longest: int = 255

    def check(self, text: str) -> str:
        """Return the text, or raise ValueError."""
        if len(text) > self.longest or not re.fullmatch(self.expression, text):
            raise ValueError(f"{text[:80]!r} is no {self.what}")
        return text

    def __get_pydantic_core_schema__(
        self, source: type[str], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.expression})$", "maxLength": self.longest}


def _clean_path(text: str) -> str:
    parts = text.split("/")[1:]
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{text[:80]!r} is no clean absolute path: no empty, '.' or '..' parts")
    return text


Name = Annotated[
    str,
    Pattern(NAME.pattern, "valid name: lower-case letters, digits and '-', 63 at most", longest=63),
]
Text = Annotated[
    str,
    Pattern(r"[^\x00-\x1f\x7f]*", "single line of text", longest=4096),
]
Sentence = Annotated[
    str,
    Pattern(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*", "single line of text that says something", longest=4096),
]
PackageName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9+._:~=^-]*", "package name")]
PackagePattern = Annotated[str, Pattern(r"[A-Za-z0-9*?\[][A-Za-z0-9+._:~*?\[\]!-]*", "package name pattern")]
ModuleName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", "module name")]
FileName = Annotated[
    str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*", "file name: letters, digits, '.', '_' and '-', no folder")
]
RelativePath = Annotated[
    str,
    Pattern(
        r"(?!\.\.?(?:/|$))[A-Za-z0-9._-]+(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._-]+)*",
        "path inside the line's folder: no leading '/', no '.' or '..'",
        longest=1024,
    ),
]
ImagePath = Annotated[
    str,
    Pattern(r"/[^\x00-\x1f\x7f]+", "absolute path in the image", longest=4096),
    AfterValidator(_clean_path),
]
PathPattern = Annotated[str, Pattern(r"/[^\x00-\x1f\x7f]*", "absolute path pattern", longest=4096)]
LinkTarget = Annotated[str, Pattern(r"[^\x00-\x1f\x7f]*", "link target", longest=4096)]
Mode = Annotated[str, Pattern(r"[0-7]{3,4}", 'mode in octal digits, such as "0755"')]
Word = Annotated[
    str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._/+-]*", "word: letters, digits, '.', '_', '/', '+' and '-'")
]
Source = Annotated[
    str,
    Pattern(
        r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._-]+)+(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
        "image reference: registry[:port]/path[:tag][@digest]",
        longest=1024,
    ),
]
Scope = Annotated[
    str,
    Pattern(
        r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]{1,5})?(?:/[a-z0-9._-]+)*",
        "scope: registry[:port][/path]",
        longest=1024,
    ),
]
Address = Annotated[
    str, Pattern(r"|(?:https?|file|copy):/[!-~]+", "address (http, https, file) or empty", longest=1024)
]


class WaiverTable(Definition):
    """A decision to let one gate's no pass for a time."""

    reason: Sentence
    """Why the gate's no is acceptable."""
    expires: dt.date
    """Last day (UTC) on which the waiver counts."""


class GatesTable(Definition):
    """What the gates ask of this image beyond, or short of, the rule."""

    build_packages: tuple[PackagePattern, ...] | None = None
    """Further package name patterns that must not be left in the image; replaces the parent's list."""
    allowed_files: Mapping[PathPattern, Sentence] = Field(default_factory=dict)
    """Path patterns a gate on files leaves alone, each with the reason."""
    waivers: Mapping[Name, WaiverTable] = Field(default_factory=dict)
    """Gate name to waiver."""


class PersistenceTable(Definition):
    """Which paths lead out of the read-only tree, and which directories must be there."""

    links: Mapping[ImagePath, LinkTarget] = Field(default_factory=dict)
    """Symlink to its exact target; an empty target takes an inherited link away."""
    directories: Mapping[ImagePath, Mode] = Field(default_factory=dict)
    """Directory to its mode in octal digits."""


class KernelTable(Definition):
    """Which kernels of the distribution are considered."""

    flavour: Word
    """Debian: the suffix of `linux-image-*-<flavour>`; EL: the architecture, such as x86_64."""


class ImageDefinition(Definition):
    """What the definitions of all tiers may say."""

    description: Text = ""
    """One sentence for people."""
    gates: GatesTable = GatesTable()
    """What the gates ask beyond, or short of, the rule; inherited down the tiers."""
    persistence: PersistenceTable = PersistenceTable()
    """Links and directories of the persistence layout; inherited down the tiers."""


class Bootstrap(Definition):
    """An upstream image made from packages."""

    suite: Word
    """The distribution's release, such as trixie."""
    components: tuple[Word, ...] = ("main",)
    """Parts of the archive."""
    packages: tuple[PackageName, ...] = Field(min_length=1)
    """What is installed, beside what is essential."""
    containerfile: FileName
    """Shapes the bootstrapped tree; a file in `Containerfiles/<line>/`."""
    mirror: Address = ""
    """Package archive; empty for the bootstrap tool's own default."""


class Mirror(Definition):
    """An upstream image copied from a vendor."""

    source: Source
    """The vendor's image, `registry/path:tag`."""
    key: RelativePath | None = None
    """The vendor's cosign public key, relative to the line's folder; without it nothing is verified."""
    insecure: bool = False
    """Speak plain HTTP to the vendor's registry."""


class UpstreamDefinition(ImageDefinition):
    """`images/<line>/upstream/<name>.toml`: the image a line starts from."""

    package_manager: Literal["apt", "dnf"]
    """How packages are found, installed and removed in all images of this line."""
    bootstrap: Bootstrap | None = None
    """Make it from packages. Exactly one of bootstrap and mirror is given."""
    mirror: Mirror | None = None
    """Copy it from a vendor. Exactly one of bootstrap and mirror is given."""
    kernel: KernelTable
    """Which kernels of the distribution are considered."""

    @model_validator(mode="after")
    def _one_source(self) -> UpstreamDefinition:
        if (self.bootstrap is None) == (self.mirror is None):
            raise ValueError("exactly one of the tables [bootstrap] and [mirror] is allowed and needed")
        return self


class Module(Definition):
    """One set of out-of-tree kernel modules, built in a stage of its own."""

    name: Name
    """Name of the set, such as zfs."""
    containerfile: FileName
    """The builder stage; a file in `Containerfiles/<line>/`."""
    dkms: ModuleName
    """The module's name in DKMS."""
    package: PackageName
    """The package that brings the DKMS source."""
    kernel_modules: tuple[ModuleName, ...] = Field(min_length=1)
    """Names of the .ko files that must come out of it, without suffix."""
    userspace: tuple[PackageName, ...] = ()
    """Packages whose upstream version must equal the module's."""


class BaseDefinition(ImageDefinition):
    """`images/<line>/base/<name>.toml`: an upstream (or another base) with modules and utility packages."""

    parent: Name = Field(alias="from")
    """The upstream or base this one is built on."""
    containerfile: FileName
    """The final stage; a file in `Containerfiles/<line>/`."""
    toolchain: FileName | None = None
    """The stage that module stages start from, with compiler and DKMS, built once a run; a file in
    `Containerfiles/<line>/`. Without it they start from the parent."""
    packages: tuple[PackageName, ...] = ()
    """Utility packages, installed in the final stage."""
    modules: tuple[Module, ...] = ()
    """Module sets; the one most likely to fail first, for the search of a kernel tries it first."""

    @model_validator(mode="after")
    def _distinct_modules(self) -> BaseDefinition:
        names = [module.name for module in self.modules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"module {', '.join(twice)} is defined twice")
        return self
