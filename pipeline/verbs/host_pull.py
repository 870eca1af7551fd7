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


def pull_problems(host_pull: HostPull, successions: Sequence[Succession]) -> tuple[tuple[str, ...], ...]:
    """Return what keeps hosts from each new release; nothing where its predecessor and itself can pull it.

    Raises:
        PipelineError: As `HostPull.pulls` says.
    """
    pairs = [
        (consumer, new) for previous, new in successions for consumer in dict.fromkeys((previous or new, new))
    ]
    answers = dict(zip(pairs, host_pull.pulls_many(pairs), strict=True))
    return tuple(
        tuple(
            f"a host of {consumer} cannot pull {new}: {answers[consumer, new].said}"
            for consumer in dict.fromkeys((previous or new, new))
            if not answers[consumer, new].ok
        )
        for previous, new in successions
    )
