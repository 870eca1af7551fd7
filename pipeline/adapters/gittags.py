"""Annotated git tags of releases, signed with an SSH key, on the commit the image was built from.

Rules:
1. The tags of one act are signed by one ssh-keygen, written by one git, and pushed in one go: all or none.
2. A tag that is there is kept when it is of the same commit and image; of another one, it is refused.
3. With a remote, the remote's tag is the one that counts: of two seals, the loser takes the winner's tag.
4. Nothing of the checkout is touched, and no tag is ever moved on the remote.
5. Signing comes first: until `write`, nothing points at what was signed, and a key that fails fails early.
Form: git's own, as `git tag -s` with gpg.format=ssh writes it and `git verify-tag` reads it.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.gitkeys import GitKey
from pipeline.adapters.gitrepo import NETWORK_TIMEOUT, Answer, GitRepo
from pipeline.adapters.process import Processes
from pipeline.domain.sealing import TagOrder
from pipeline.domain.ssh_signature import BEGIN
from pipeline.domain.text import plain
from pipeline.errors import (
    LedgerRemoteError,
    NotFoundError,
    SealConflictError,
    StateError,
)

_ATTEMPTS = 5
_UNFIT = re.compile(r"[<>\x00-\x1f\x7f]")
_LOST = re.compile(
    r"already exists|cannot lock ref|reference already|but expected|fetch first|failed to lock"
    r"|atomic transaction fail"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagging:
    """How tags are made.

    Attributes:
        key: File of an SSH key, private or the public half of one in an agent; None for git's own setting.
        unsigned: Write tags without a signature.
        identity: Name and address of who tags.
        clock: Tells the time, with a time zone.
    """

    key: Path | None = None
    unsigned: bool = False
    identity: tuple[str, str]
    clock: Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    """A tag that was found: the id of its object, and its text; "" for one that is no annotated tag."""

    id: str
    text: str


class GitTags:
    """The release tags of the repository that holds the definitions.

    Args:
        folder: A folder in it.
        remote: Name of the remote that shares them; one that is not set up means none.
        tagging: How tags are made.
        processes: The door to ssh-keygen.

    Raises:
        StateError: The folder is in no git repository.
    """

    def __init__(self, folder: Path, *, remote: str, tagging: Tagging, processes: Processes) -> None:
        repo = GitRepo.find(folder)
        if repo is None:
            raise StateError(
                f"{plain(str(folder))} is in no git repository, and a release is a tag of one",
                hint="keep the images folder in a git repository",
            )
        self._repo, self._remote, self._tagging = repo, remote, tagging
        self._key = GitKey(repo, processes, tagging.key, signs="git tags")
        self._ready: dict[TagOrder, str] = {}

    def require(self, orders: Sequence[TagOrder]) -> None:
        """Return if these tags can be written; nothing is.

        Raises:
            NotFoundError: This clone does not have a commit.
            SealConflictError: A tag of such a name is of another commit or image.
            UsageError: There is no key to sign with.
            LedgerRemoteError: The remote does not answer.
        """
        if not orders:
            return
        if not self._tagging.unsigned:
            self._key.require()
        for commit in sorted({one.commit for one in orders}):
            if not self._repo.has(commit):
                raise NotFoundError(
                    f"this clone does not have the commit {commit} that an image was built from",
                    hint="fetch it (git fetch), or seal in the clone that built the image",
                )
        self._found(orders)

    def sign(self, orders: Sequence[TagOrder]) -> None:
        """Make and sign the tags that are not there yet; nothing points at them before `write`.

        Raises:
            SealConflictError: A tag of such a name is of another commit or image.
            SignatureError: The key could not be used.
            LedgerRemoteError: The remote does not answer.
        """
        if orders:
            here, there = self._found(orders)
            self._made([one for one in orders if one.name not in here and one.name not in there])

    def write(self, orders: Sequence[TagOrder]) -> None:
        """Write the tags, here and on the remote; those that are there stay.

        Raises:
            SealConflictError: A tag of such a name is of another commit or image, or other writers kept
                winning.
            SignatureError: The key could not be used.
            LedgerRemoteError: The remote does not answer or refuses.
        """
        for _ in range(_ATTEMPTS if orders else 0):
            here, there = self._found(orders)
            fresh = [one for one in orders if one.name not in here and one.name not in there]
            wanted = {**{name: tag.id for name, tag in here.items()}, **self._made(fresh)}
            wanted |= {name: tag.id for name, tag in there.items()}
            lost = self._point(wanted, here)
            missing = [one.name for one in orders if one.name not in there]
            if not lost and (not self._shared or not missing or self._pushed(missing)):
                return
        if orders:
            raise SealConflictError(
                f"other writers of the git tag {orders[0].name} kept winning",
                hint="look at the tags of the repository and run the same command again",
            )

    @property
    def _shared(self) -> bool:
        return self._repo.run("remote", "get-url", self._remote).code == 0

    def _found(self, orders: Sequence[TagOrder]) -> tuple[Mapping[str, _Tag], Mapping[str, _Tag]]:
        """Return the tags there are, here and on the remote, each of which is what is wanted."""
        here, there = self._local(orders), self._remotely(orders)
        for one in orders:
            for where, tags in (("here", here), (f"on {self._remote}", there)):
                if one.name in tags:
                    self._refuse_other(one, tags[one.name], where)
        return here, there

    def _local(self, orders: Sequence[TagOrder]) -> dict[str, _Tag]:
        names = [f"refs/tags/{one.name}" for one in orders]
        listed = self._repo.ask("for-each-ref", "--format=%(objectname) %(refname)", *names).text
        ids = dict(line.split(" ", 1)[::-1] for line in listed.splitlines())
        return self._texts({name: ids[name] for name in names if name in ids})

    def _remotely(self, orders: Sequence[TagOrder]) -> dict[str, _Tag]:
        if not self._shared:
            return {}
        names = [f"refs/tags/{one.name}" for one in orders]
        listed = self._network("ls-remote", "--quiet", self._remote, *names).text
        ids = dict(line.split("\t", 1)[::-1] for line in listed.splitlines())
        found = {name: ids[name] for name in names if name in ids}
        if found:
            self._network(
                "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=",
                "--no-auto-maintenance", "--no-recurse-submodules", self._remote, *found,
            )  # fmt: skip
        return self._texts(found)

    def _texts(self, ids: Mapping[str, str]) -> dict[str, _Tag]:
        """Return tags by name with their text, by one process for all."""
        if not ids:
            return {}
        data = self._repo.ask(
            "cat-file", "--batch", stdin="".join(f"{one}\n" for one in ids.values()).encode()
        ).out
        found: dict[str, _Tag] = {}
        at = 0
        for ref, identity in ids.items():
            end = data.index(b"\n", at)
            _, kind, size = data[at:end].split(b" ")
            text = data[end + 1 : end + 1 + int(size)].decode(errors="replace") if kind == b"tag" else ""
            found[ref.removeprefix("refs/tags/")] = _Tag(id=identity, text=text)
            at = end + 1 + int(size) + 1
        return found

    def _refuse_other(self, order: TagOrder, tag: _Tag, where: str) -> None:
        head, _, message = tag.text.partition("\n\n")
        fields = dict(line.split(" ", 1) for line in head.splitlines() if " " in line)
        signed = self._tagging.unsigned or BEGIN in message
        is_it = (fields.get("object"), fields.get("tag")) == (order.commit, order.name)
        if is_it and signed and order.mark in message.splitlines():
            return
        what = "is not signed" if is_it and not signed else "is of another commit or image"
        raise SealConflictError(
            f"there is a git tag {order.name} {where} ({tag.id[:12]}), and it {what}",
            hint=f"find out who made it; a release tag is never moved: git show {order.name}",
        )

    def _made(self, orders: Sequence[TagOrder]) -> dict[str, str]:
        """Write tag objects, to which nothing points yet, unless they are; return their ids by name."""
        todo = [one for one in orders if one not in self._ready]
        if todo:
            self._ready |= dict(zip(todo, self._written(todo), strict=True))
        return {one.name: self._ready[one] for one in orders}

    def _written(self, orders: Sequence[TagOrder]) -> list[str]:
        texts = [self._text(one) for one in orders]
        if not self._tagging.unsigned:
            texts = [text + made for text, made in zip(texts, self._key.sign(texts), strict=True)]
        with tempfile.TemporaryDirectory(prefix="pipeline-tag-") as name:
            files = [Path(name) / f"{number}.tag" for number in range(len(texts))]
            for file, text in zip(files, texts, strict=True):
                file.write_bytes(text)
            listing = "".join(f"{file}\n" for file in files).encode()
            made = self._repo.ask(
                "hash-object", "-t", "tag", "-w", "--no-filters", "--stdin-paths", stdin=listing
            )
        return made.text.split()

    def _text(self, order: TagOrder) -> bytes:
        name, address = (_UNFIT.sub("?", part).strip() or "?" for part in self._tagging.identity)
        when = int(self._tagging.clock().timestamp())
        head = f"object {order.commit}\ntype commit\ntag {order.name}\ntagger {name} <{address}> {when} +0000"
        return f"{head}\n\n{order.message.strip()}\n".encode()

    def _point(self, wanted: Mapping[str, str], here: Mapping[str, _Tag]) -> str:
        """Let local tags name their objects; return why another writer was first, or nothing."""
        nothing = "0" * len(next(iter(wanted.values()), ""))
        moves = [
            f"update refs/tags/{name} {new} {here[name].id if name in here else nothing}\n"
            for name, new in sorted(wanted.items())
            if name not in here or here[name].id != new
        ]
        answer = self._repo.run("update-ref", "--stdin", stdin="".join(moves).encode())
        if answer.code == 0 or _LOST.search(answer.err):
            return "" if answer.code == 0 else plain(answer.err)
        raise StateError(
            f"git cannot write tags: {plain(answer.err)}",
            hint="remove what is in the way: a tag `line/image` leaves no room for `line/image/v1.0.0`",
        )

    def _pushed(self, names: Sequence[str]) -> bool:
        """Send tags to the remote; return whether it took them, False when another writer was first."""
        specs = [f"refs/tags/{name}:refs/tags/{name}" for name in names]
        answer = self._repo.run(
            "push", "--porcelain", "--atomic", "--no-verify", "--no-signed", "--no-follow-tags",
            "--recurse-submodules=no", self._remote, *specs, timeout=NETWORK_TIMEOUT,
        )  # fmt: skip
        said = answer.out.decode(errors="replace") + answer.err
        if answer.code != 0 and not _LOST.search(said):
            raise _unreachable(f"git push of {len(names)} tags to {self._remote}: {plain(said)}")
        return answer.code == 0

    def _network(self, *arguments: str) -> Answer:
        answer = self._repo.run(*arguments, timeout=NETWORK_TIMEOUT)
        if answer.code != 0:
            raise _unreachable(f"git {arguments[0]} from {self._remote}, for tags: {plain(answer.err)}")
        return answer


def _unreachable(what: str) -> LedgerRemoteError:
    return LedgerRemoteError(
        f"the remote does not answer or refuses: {what}",
        hint="mend the connection or the rights, then run the same command again",
    )
