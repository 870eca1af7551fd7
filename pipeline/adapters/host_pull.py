"""Asks the skopeo inside an image whether a host of that image would pull another one.

How acceptance is proved with few bytes. skopeo judges policy and signatures as soon as it has the manifest,
and copies layers only then, so its exit code 0 needs a destination. An OCI layout with a shared blob folder
takes whatever lies there by name as copied already; sparse files stand there for every layer but the topmost.
What is fetched for real, and checked by skopeo, is manifest, signatures, config and topmost layer; that the
registry has the other layers is asked of it by HEAD. A copy back into the repository would move no byte
either, but asks for the right to write, which no host has, and would write the signatures' tag again.
Measured on a 600 MB image: ten requests and a few kilobytes beside the host's own layer; a tenth of a second
for each pull, beside the half that a container takes.

Rules:
1. A container of the consumer answers. It answers for other consumers too where their images differ from its
   own in nothing that sways a pull (programs, libraries, certificates, keys); policy.json, registries.d and
   registries.conf may differ, each consumer's own are handed over. So a fleet costs one container.
2. An image without skopeo is answered for by the stand-in the caller names, which is told; never by one that
   cannot verify sigstore signatures.
3. `ok` is only said on skopeo's exit code 0, "no" only for a refusal that a host would meet as well. A
   registry that fails, and anything that is not understood, is an error.
4. The container gets no login but the one for the registry that is asked, and that on its standard input;
   names reach its shell as data, never as text of a command.

Not asked: the host's own network, its pull secrets and what people changed in its /etc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.adapters.host_pull_container import Ask, Asks, Containers, ask_in_container
from pipeline.adapters.tokens import Credentials
from pipeline.domain.diff.layered import LayeredSnapshot, differing
from pipeline.domain.host_pull import (
    SKOPEO,
    Carried,
    PullAnswer,
    Word,
    carried,
    heard,
    placeable,
    same_file,
    swaying,
)
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.oci import Descriptor, Manifest, parse
from pipeline.domain.rotation import why_not_trusted
from pipeline.domain.signature import VerifyKey
from pipeline.domain.tocline import unescaped
from pipeline.errors import NotFoundError, RegistryError, ToolMissingError

Pair = tuple[ImageRef, ImageRef]
"""Consumer and wanted image."""


class Source(Protocol):
    """The part of the images' registry that is used here; from several threads."""

    def manifest(self, ref: ImageRef) -> bytes:
        """Return a manifest or index, checked against its digest."""

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether a repository has a blob."""


Opened = Callable[[Sequence[ImageRef]], Sequence[LayeredSnapshot]]
"""Opens the files of images, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the registry has of a wanted image: its layers, or what is missing."""

    layers: tuple[Descriptor, ...] = ()
    missing: str = ""


@dataclass(kw_only=True)
class _Group:
    """Consumers that the container of one image answers for.

    Attributes:
        runner: That image.
        snapshot: The files of the consumer that was the first.
        members: Each consumer and its files to be handed over; None where the container has its own.
        placed: Files put in the place of the container's own, where the runner is a stand-in.
    """

    runner: ImageRef
    snapshot: LayeredSnapshot
    members: dict[ImageRef, Carried | None] = field(default_factory=dict)
    placed: Mapping[str, bytes | None] | None = None


class SkopeoHostPull:
    """Implements `verbs.host_pull.HostPull`.

    Args:
        engine: Runs containers.
        source: The registry of all the images.
        opened: Opens images' files without pulling them.
        insecure: Registries (`host:port`) that speak plain HTTP.
        login: Returns the login for a registry, or None.
        stand_in: An image whose skopeo answers for images that have none.
        jobs: Requests to the registry at once.
    """

    def __init__(
        self,
        engine: Containers,
        source: Source,
        opened: Opened,
        *,
        insecure: frozenset[str] = frozenset(),
        login: Callable[[str], Credentials | None] = lambda _: None,
        stand_in: ImageRef | None = None,
        jobs: int = 16,
    ) -> None:
        self._engine = engine
        self._source = source
        self._opened = opened
        self._insecure = insecure
        self._login = login
        self._stand_in = stand_in
        self._jobs = jobs

    def pulls(self, consumer: ImageRef, wanted: ImageRef) -> PullAnswer:
        """See `HostPull.pulls`."""
        [answer] = self.pulls_many([(consumer, wanted)])
        return answer

    def pulls_many(self, pairs: Sequence[Pair]) -> tuple[PullAnswer, ...]:
        """See `HostPull.pulls_many`."""
        offers = self._offers({_pinned(wanted) for _, wanted in pairs})
        answers: dict[Pair, PullAnswer] = {}
        asked: dict[ImageRef, list[ImageRef]] = {}
        for consumer, wanted in ((_pinned(one), _pinned(other)) for one, other in pairs):
            if missing := offers[wanted].missing:
                answers[consumer, wanted] = PullAnswer(ok=False, said=missing)
            else:
                asked.setdefault(consumer, []).append(wanted)
        for group in self._groups(tuple(asked)):
            answers |= self._answers(group, asked, offers)
        return tuple(answers[_pinned(consumer), _pinned(wanted)] for consumer, wanted in pairs)

    def distrusts(self, pairs: Sequence[Pair], key: VerifyKey) -> tuple[str, ...]:
        """See `HostPull.distrusts`; where files cannot be read apart from the image, only a pull can tell."""
        consumers = tuple(dict.fromkeys(_pinned(consumer) for consumer, _ in pairs))
        found = map(carried, self._opened(consumers))
        files = dict(zip(consumers, found, strict=True))
        return tuple(_distrust(files[_pinned(one)], key, wanted.repository) for one, wanted in pairs)

    # --- what the registry has

    def _offers(self, wanted: set[ImageRef]) -> Mapping[ImageRef, _Wanted]:
        order = sorted(wanted, key=str)
        with ThreadPoolExecutor(self._jobs) as pool:
            return dict(zip(order, pool.map(self._offer, order), strict=True))

    def _offer(self, ref: ImageRef) -> _Wanted:
        try:
            found = parse(self._source.manifest(ref), f"the manifest {ref}")
        except NotFoundError as error:
            return _Wanted(missing=f"no host can fetch it: {error.message}")
        if not isinstance(found, Manifest):
            return _Wanted()  # of an index everything is fetched: which part, only skopeo can tell
        for layer in found.layers[:-1]:
            if not self._source.has_blob(ref.repository, layer.digest):
                return _Wanted(
                    missing=f"no host can fetch it: the registry lost layer {layer.digest} of {ref}"
                )
        return _Wanted(layers=found.layers)

    # --- who answers for whom

    def _groups(self, consumers: Sequence[ImageRef]) -> Sequence[_Group]:
        groups: list[_Group] = []
        if not consumers:
            return groups
        for consumer, snapshot in zip(consumers, self._opened(consumers), strict=True):
            # Compared first: so what two images share at the bottom is merged once for all of them.
            alike = [one for one in groups if _alike(one, snapshot)]
            files = carried(snapshot)
            if snapshot.entry(SKOPEO) is None:
                groups.append(self._stood_in(consumer, snapshot, files))
                continue
            group = next((one for one in alike if files and _same_keys(one, files)), None)
            if group is None:
                group = _Group(runner=consumer, snapshot=snapshot)
                groups.append(group)
            group.members[consumer] = files if group.runner != consumer else None
        return groups

    def _stood_in(self, consumer: ImageRef, snapshot: LayeredSnapshot, files: Carried | None) -> _Group:
        if self._stand_in is None:
            raise ToolMissingError(
                f"{consumer} has no skopeo to ask whether a host of it can pull",
                hint="add the package skopeo to its base, or name an image that answers for it",
            )
        placed = placeable(snapshot, files) if files is not None else None
        if files is None or placed is None:
            raise ToolMissingError(
                f"{consumer} has no skopeo, and its policy cannot be tried in {self._stand_in}",
                hint="add the package skopeo to its base, or keep policy and keys as plain files in "
                "/etc/containers and /etc/pki",
            )
        return _Group(
            runner=_pinned(self._stand_in), snapshot=snapshot, members={consumer: files}, placed=placed
        )

    # --- one container

    def _answers(
        self,
        group: _Group,
        asked: Mapping[ImageRef, Sequence[ImageRef]],
        offers: Mapping[ImageRef, _Wanted],
    ) -> dict[Pair, PullAnswer]:
        pairs = [(consumer, wanted) for consumer in group.members for wanted in asked[consumer]]
        told = ask_in_container(self._engine, self._local(group.runner), self._asks(group, pairs, offers))
        return {
            pair: self._answer(group, pair, told.version, code, text)
            for pair, (code, text) in zip(pairs, told.ends, strict=True)
        }

    def _asks(self, group: _Group, pairs: Sequence[Pair], offers: Mapping[ImageRef, _Wanted]) -> Asks:
        layers = [offers[wanted].layers for _, wanted in pairs]
        fetched = {each[-1].digest for each in layers if each}
        hosts = {wanted.repository.registry for _, wanted in pairs}
        logins = {host: self._login(host) for host in sorted(hosts)}
        return Asks(
            asks=[
                Ask(
                    wanted=wanted,
                    given=group.members[consumer],
                    verify=wanted.repository.registry not in self._insecure,
                )
                for consumer, wanted in pairs
            ],
            skipped=[layer for each in layers for layer in each if layer.digest not in fetched],
            logins={host: login for host, login in logins.items() if login is not None},
            placed=group.placed,
        )

    def _local(self, runner: ImageRef) -> str:
        known = self._engine.id_of(f"{runner.repository}@{runner.pinned}")
        return known or self._engine.pull(runner)

    def _answer(self, group: _Group, pair: Pair, version: str, code: int, text: str) -> PullAnswer:
        consumer, wanted = pair
        word, reason = heard(code, text)
        stands_in = group.placed is not None
        whose = f"{group.runner}, which stands in for {consumer}," if stands_in else str(consumer)
        who = f"{version.replace(' version', '')} of {whose}"
        if word is Word.UNABLE and stands_in:
            raise ToolMissingError(
                f"{who} cannot judge by its policy: {reason}",
                hint="name a stand-in whose skopeo can, such as a base on Debian 13 or CentOS Stream 10",
            )
        if word is Word.UNKNOWN:
            raise RegistryError(
                f"{who} gave no verdict on {wanted}: {reason}",
                hint="check the registry and the login, then run the same command again",
            )
        if word is Word.ACCEPTED:
            return PullAnswer(ok=True, said=f"{who} accepts it")
        return PullAnswer(ok=False, said=f"{who} refuses it: {reason}")


def _alike(group: _Group, snapshot: LayeredSnapshot) -> bool:
    """Tell whether a container of this image would be like the group's in what sways a pull, keys aside."""
    if group.placed is not None or _environment(group.snapshot) != _environment(snapshot):
        return False
    paths, _ = differing(group.snapshot, snapshot)
    return next(swaying(unescaped(path) for path in paths), None) is None


def _environment(snapshot: LayeredSnapshot) -> Any:
    settings = snapshot.config.get("config")
    return settings.get("Env") if isinstance(settings, Mapping) else None


def _same_keys(group: _Group, files: Carried) -> bool:
    return all(same_file(group.snapshot, path, data) for path, data in files.keys.items())


def _distrust(files: Carried | None, key: VerifyKey, repository: Repository) -> str:
    if files is None or files.policy is None:
        return ""
    keys = {path: data for path, data in files.keys.items() if data is not None}
    return why_not_trusted(files.policy, keys, key, repository)


def _pinned(ref: ImageRef) -> ImageRef:
    return ref.repository.at(ref.pinned)
