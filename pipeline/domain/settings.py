"""`images/pipeline.toml` as typed, frozen values: the settings of all lines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.domain.approval_settings import ApprovalSettings
from pipeline.domain.definition import Definition, Name, Pattern, RelativePath, Scope, Text, Word
from pipeline.domain.image import Repository
from pipeline.domain.writers import WritersTable
from pipeline.errors import UsageError


def _registry_url(text: str) -> str:
    host, _, prefix = text.partition("/")
    try:
        Repository(registry=host, path=prefix or "x")
    except UsageError as error:
        raise ValueError(f"{error.message}: write host[:port][/prefix], without a scheme") from error
    return text


SigningKey = Annotated[
    str,
    Pattern(
        r"env://[A-Za-z_][A-Za-z0-9_]{0,127}"
        r"|(?:awskms|gcpkms|azurekms|hashivault|k8s)://[A-Za-z0-9/[][A-Za-z0-9._~:/@%+=,\[\]-]*"
        r"|/?(?!-|\.\.?(?:/|$))[A-Za-z0-9._-]+(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._-]+)*",
        "signing key: env://VARIABLE, awskms://…, gcpkms://…, azurekms://…, hashivault://…, k8s://…, or a "
        "path without '.' or '..' parts",
        longest=1024,
    ),
]


class RegistrySettings(Definition):
    """Where this project's images live."""

    url: Annotated[str, AfterValidator(_registry_url)]
    """`host[:port][/prefix]`; an image is `url/<line>/<name>`. PIPELINE_REGISTRY overrides it."""
    insecure: bool = False
    """Speak plain HTTP to it."""

    def repository(self, line: str, name: str) -> Repository:
        """Return the repository of one image."""
        host, _, prefix = self.url.partition("/")
        path = "/".join(part for part in (prefix, line, name) if part)
        return Repository(registry=host, path=path)


class EngineSettings(Definition):
    """The container engine that builds."""

    program: Literal["podman"] = "podman"
    """The engine's command."""
    runtime: Literal["auto", "crun", "runc"] = "auto"
    """OCI runtime; `auto` takes the engine's own unless it cannot run here."""


class LedgerSettings(Definition):
    """Where the record of candidates and decisions is kept."""

    branch: Word = "pipeline-ledger"
    """Git branch that holds the ledger and nothing else."""
    remote: Word = "origin"
    """Git remote the ledger is shared through."""
    writers: WritersTable | None = None
    """Whose signature a record needs, by its kind; what counts is this table on the protected branch. Without
    it the git server alone decides who writes to the ledger."""


class BuildSettings(Definition):
    """How builds run."""

    network: Literal["host", "default"] = "host"
    """Network of build containers."""
    module_jobs: int = Field(default=2, ge=1, le=64)
    """Module stages that compile side by side."""


class SigningSettings(Definition):
    """Which keys hosts trust, and what releases are signed with."""

    release_keys: tuple[RelativePath, ...] = ("keys/release.pub",)
    """Public keys (PEM), relative to the images folder, that releases are or will be signed with."""
    key: SigningKey = "env://PIPELINE_RELEASE_KEY"
    """The private half that signs: a variable that holds it (env://), a key service's address, or a file,
    absolute or relative to the images folder. Only who seals needs it."""
    keyless: Literal["off", "try", "required"] = "off"
    """Sign with the CI's identity token too, as further evidence that hosts do not look at."""
    unsafe_none: bool = False
    """Release without signatures; hosts that verify what they pull will refuse such releases."""


class RetentionSettings(Definition):
    """What `pipeline prune` keeps, beside whatever hosts run, may fall back to, or are built on."""

    releases: int = Field(default=5, ge=1, le=10_000)
    """How many of the newest releases of each image stay."""
    candidate_days: int = Field(default=30, ge=1, le=36_500)
    """Days for which a candidate that was not released stays."""


class SupplierSettings(Definition):
    """Who makes the images, as their SBOMs tell it."""

    name: Text = ""
    """The organisation; empty for the registry's address."""
    url: Annotated[str, Pattern(r"|https?://[!-~]+", "web address or empty", longest=1024)] = ""
    """Where to find it."""
    mail: Annotated[str, Pattern(r"|[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+", "mail address or empty")] = ""
    """Whom to write to."""


class PolicySettings(Definition):
    """What hosts may pull beside the project's own images."""

    allow: tuple[Scope, ...] = ()
    """Registries or paths in them, as narrow as can be, that are pulled from without a signature."""


class Settings(Definition):
    """`images/pipeline.toml`: settings of all lines."""

    default_line: Name | None = None
    """The line verbs work on when `--line` is not given."""
    registry: RegistrySettings
    """Where this project's images live."""
    engine: EngineSettings = EngineSettings()
    """The container engine that builds."""
    ledger: LedgerSettings = LedgerSettings()
    """Where the record of candidates and decisions is kept."""
    build: BuildSettings = BuildSettings()
    """How builds run."""
    signing: SigningSettings = SigningSettings()
    """Which keys hosts trust, and what releases are signed with."""
    retention: RetentionSettings = RetentionSettings()
    """What pruning keeps."""
    supplier: SupplierSettings = SupplierSettings()
    """Who makes the images, as their SBOMs tell it."""
    approval: ApprovalSettings = ApprovalSettings()
    """Who may approve what; what counts is this table on the protected branch."""
    policy: PolicySettings = PolicySettings()
    """What hosts may pull beside the project's own images."""
