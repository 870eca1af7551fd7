"""Pins: a kernel, its kernel-devel and the module versions that were proved together, and why.

Rules: a pin made by the search carries the evidence of its proof; a pin by hand carries a reason and a
last day; a failure is remembered with the kernel, module and version it was seen with, and counts until
one of the three changes or the kernel is proved after all; what says nothing about the kernel, such as a
repository that cannot be reached, is never remembered.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.domain.image import Digest
from pipeline.errors import PinError

_NOT_THE_KERNEL = re.compile(
    r"^E: (?!Sub-process )"
    r"|No match for argument|Unable to find a match|Failed to download|Curl error \(|Status code: [45]"
    r"|Temporary failure|Could not resolve|No space left on device|\bKilled\b|\bOut of memory\b"
)


def says_nothing_of_the_kernel(error: str) -> bool:
    """Whether a stage's first error line blames the repositories or the machine instead of the module."""
    return _NOT_THE_KERNEL.search(error) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A module that did not compile.

    Attributes:
        kernel: Release the module was compiled for.
        module: Name of the module set.
        version: Package version of the module.
        error: First real error line of the log.
        log: Digest of the full log.
        time: When it was tried, UTC.
    """

    kernel: str
    module: str
    version: str
    error: str
    log: Digest
    time: dt.datetime

    @property
    def said(self) -> str:
        """The failure in one line."""
        return f"{self.module} {self.version} does not compile: {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A newer kernel that was not taken, and why."""

    kernel: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What one base is built with.

    Attributes:
        kernel: Kernel release (`uname -r` form).
        kernel_devel: What the builder stage installs, `package=version` words.
        kernel_packages: What brings the kernel into an image that has another one, `package=version` words.
        modules: Module set to its package version.
        userspace: Userspace package to its version.
        upstream: Name of the upstream image.
        upstream_digest: The image the repositories were asked from.
        reason: Why this kernel.
        time: When it was chosen, UTC.
        evidence: Module set to the digest of the log of its successful compile; empty for a pin by hand.
        passed_over: Newer kernels, newest first.
        expires: Last day (UTC) of a pin by hand; None for one the search made.
    """

    kernel: str
    kernel_devel: tuple[str, ...]
    kernel_packages: tuple[str, ...]
    modules: Mapping[str, str]
    userspace: Mapping[str, str]
    upstream: str
    upstream_digest: Digest
    reason: str
    time: dt.datetime
    evidence: Mapping[str, Digest] = field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    expires: dt.date | None = None

    @property
    def by_hand(self) -> bool:
        """Whether a person set it instead of the search."""
        return self.expires is not None

    def require_valid(self, today: dt.date) -> None:
        """Refuse a pin by hand whose last day is over.

        Raises:
            PinError: It has expired.
        """
        if self.expires is not None and today > self.expires:
            raise PinError(
                f"the pin of kernel {self.kernel} by hand ({self.reason}) expired on {self.expires}",
                hint="run `pipeline pin` to search again, or pin by hand with a new --expires",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PinFile:
    """Everything in one line's pins.toml: pins by base, and failures."""

    pins: Mapping[str, Pin] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def with_pin(self, base: str, pin: Pin) -> PinFile:
        """Return the file with one base's pin replaced."""
        return PinFile(pins={**self.pins, base: pin}, failures=self.failures)

    def with_failure(self, failure: Failure) -> PinFile:
        """Return the file with one more failure; an older one of the same three is replaced."""
        same = (failure.kernel, failure.module, failure.version)
        kept = tuple(one for one in self.failures if (one.kernel, one.module, one.version) != same)
        return PinFile(pins=self.pins, failures=(*kept, failure))

    def proved(self, kernel: str, versions: Mapping[str, str]) -> PinFile:
        """Return the file without failures of these module versions on a kernel for which they compile."""
        kept = tuple(
            one for one in self.failures if one.kernel != kernel or versions.get(one.module) != one.version
        )
        return PinFile(pins=self.pins, failures=kept)

    def failure(self, kernel: str, versions: Mapping[str, str]) -> Failure | None:
        """Return a remembered failure of any of these module versions on this kernel."""
        for one in self.failures:
            if one.kernel == kernel and versions.get(one.module) == one.version:
                return one
        return None


class PinState(StrEnum):
    """What `pin --check` finds."""

    HOLDS = "holds"
    OBSOLETE = "obsolete"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinVerdict:
    """The state of one base's pin, with the reasons."""

    base: str
    pin: Pin
    state: PinState
    reasons: tuple[str, ...] = ()
