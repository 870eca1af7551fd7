"""Whether hosts can pull what is to be released: the one question that only a host's own skopeo can answer.

Rules: a release is asked for twice: by its predecessor, whose hosts are to be updated to it, and by itself,
since a host that runs it must be able to pull it again. Both with the consumer's own policy.json, keys and
registries.d. "No" is an answer with a reason; a registry that fails, or nobody to be asked, is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.domain.host_pull import PullAnswer
from pipeline.domain.image import ImageRef
from pipeline.domain.signature import VerifyKey

Succession = tuple[ImageRef | None, ImageRef]
"""The release before, if there is one, and the new one."""


class HostPull(Protocol):
    """Asks the skopeo inside images; all references are by digest."""

    def pulls(self, consumer: ImageRef, wanted: ImageRef) -> PullAnswer:
        """Tell whether a host that runs `consumer` accepts `wanted` and can fetch it.

        Raises:
            NotFoundError: The registry does not have the consumer.
            RegistryError: The registry fails, or skopeo gave no verdict.
            ToolMissingError: The consumer has no skopeo, and no stand-in that verifies signatures.
            ToolFailedError: No container could be started, or it did not answer.
            UsageError: A reference is by tag only.
        """

    def pulls_many(self, pairs: Sequence[tuple[ImageRef, ImageRef]]) -> tuple[PullAnswer, ...]:
        """Answer for many pairs of consumer and wanted image, in their order, as `pulls` does."""

    def distrusts(self, pairs: Sequence[tuple[ImageRef, ImageRef]], key: VerifyKey) -> tuple[str, ...]:
        """Tell for pairs of consumer and wanted image why the consumer would refuse what a key signs there.

        The early, cheap answer, read from the consumer's files: "" where nothing speaks against it. The proof
        is `pulls`.

        Raises:
            NotFoundError: The registry does not have the consumer.
            RegistryError: The registry fails.
        """


def distrust_problems(
    host_pull: HostPull, successions: Sequence[Succession], key: VerifyKey
) -> tuple[tuple[str, ...], ...]:
    """Return why hosts would refuse what a key signs: those of the release before, and those of the new one.

    Raises:
        PipelineError: As `HostPull.distrusts` says.
    """
    pairs = _pairs(successions)
    said = dict(zip(pairs, host_pull.distrusts(pairs, key), strict=True))
    return tuple(
        tuple(
            f"{consumer} does not trust the key {key} that is to sign: {said[consumer, new]}"
            for consumer in _consumers(previous, new)
            if said[consumer, new]
        )
        for previous, new in successions
    )


def pull_problems(host_pull: HostPull, successions: Sequence[Succession]) -> tuple[tuple[str, ...], ...]:
    """Return what keeps hosts from each new release; nothing where its predecessor and itself can pull it.

    Raises:
        PipelineError: As `HostPull.pulls` says.
    """
    pairs = _pairs(successions)
    answers = dict(zip(pairs, host_pull.pulls_many(pairs), strict=True))
    return tuple(
        tuple(
            f"a host of {consumer} cannot pull {new}: {answers[consumer, new].said}"
            for consumer in _consumers(previous, new)
            if not answers[consumer, new].ok
        )
        for previous, new in successions
    )


def _pairs(successions: Sequence[Succession]) -> list[tuple[ImageRef, ImageRef]]:
    return [(consumer, new) for previous, new in successions for consumer in _consumers(previous, new)]


def _consumers(previous: ImageRef | None, new: ImageRef) -> tuple[ImageRef, ...]:
    return tuple(dict.fromkeys((previous or new, new)))
