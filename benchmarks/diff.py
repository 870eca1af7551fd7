#!/usr/bin/env python3
"""The files of two rebuilt bases compared: by tables of contents, against unpack-and-hash. Both from one run.

    python benchmarks/diff.py OLD NEW [--secure] [--json FILE]
    python benchmarks/diff.py --images DIR [--json FILE]

OLD and NEW are references by digest in one registry; with --images they are the two base candidates that the
ledger there recorded last. Both sides begin with nothing but the registry and end with every path that
differs:
  unpack   podman pulls both into a store of its own (which fetches shared layers once) and mounts them; every
           file is hashed by sha256sum on all cores, everything else is read by lstat and listxattr
  mounted  the same without the pull, as if both had been in the store
  cold     tables of contents, none kept yet
  warm     tables of contents, kept by the run before; the median of nine
Then all facts of both images are compared entry by entry between the sides, and so is what differs. What
`podman diff` says is told for reference.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP)]

from pipeline.adapters.registry import Registry  # noqa: E402
from pipeline.adapters.snapshots import Snapshots  # noqa: E402
from pipeline.adapters.toc import TocStore  # noqa: E402
from pipeline.domain.diff.files import change_of, file_changes  # noqa: E402
from pipeline.domain.diff.layered import LayeredSnapshot  # noqa: E402
from pipeline.domain.diff.snapshot import Aspect, FileChanges, FileFacts  # noqa: E402
from pipeline.domain.image import ImageRef  # noqa: E402
from pipeline.domain.tree import FileType  # noqa: E402
from pipeline.verbs.assemble import load_base  # noqa: E402

GOALS = {"warm": 100.0, "cold": 3.0}
TYPES = {
    stat.S_IFREG: FileType.FILE,
    stat.S_IFDIR: FileType.DIRECTORY,
    stat.S_IFLNK: FileType.SYMLINK,
    stat.S_IFCHR: FileType.CHARACTER,
    stat.S_IFBLK: FileType.BLOCK,
    stat.S_IFIFO: FileType.FIFO,
    stat.S_IFSOCK: FileType.SOCKET,
}


Result = TypeVar("Result")


class Store:
    """podman on a store of its own, so that nothing was pulled before and nobody's images are touched."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.command = [
            "podman", "--root", str(self.root), "--runroot", str(folder / "run"),
            "--tmpdir", str(folder / "tmp"), "--runtime=runc",
        ]  # fmt: skip

    def __call__(self, *words: str) -> str:
        return run([*self.command, *words])

    def close(self) -> None:
        self("image", "unmount", "--all", "--force")
        self("image", "rm", "--all", "--force")
        overlay = str(self.root / "overlay")
        if any(line.split()[1] == overlay for line in Path("/proc/mounts").read_text().splitlines()):
            run(["umount", overlay])


def run(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}\n{done.stderr.decode()}")
    return done.stdout.decode(errors="surrogateescape").strip()


def output(argv: Sequence[str | bytes]) -> bytes:
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout


def hashes(root: str) -> dict[str, str]:
    """Return every file's SHA-256, made by as many sha256sum at once as there are cores."""
    listed = subprocess.run(
        ["find", root, "-type", "f", "-print0"], stdout=subprocess.PIPE, check=True
    ).stdout
    files = listed.split(b"\0")[:-1]
    batches = [files[at : at + 500] for at in range(0, len(files), 500)]

    def sums(batch: list[bytes]) -> bytes:
        return subprocess.run(
            ["sha256sum", "--zero", "--", *batch], stdout=subprocess.PIPE, check=True
        ).stdout

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = b"".join(pool.map(sums, batches)).decode("utf-8", "surrogateescape")
    return {line[66:].removeprefix(root): line[:64] for line in said.split("\0") if line}


def walked(root: str) -> Iterator[tuple[str, str]]:
    for top, folders, files in os.walk(root):
        yield from ((f"{top}/{name}", f"{top}/{name}".removeprefix(root)) for name in (*folders, *files))


def unpacked_facts(root: str) -> dict[str, FileFacts]:
    sums = hashes(root)
    found = {}
    for real, path in walked(root):
        seen = os.lstat(real)
        kind = TYPES[stat.S_IFMT(seen.st_mode)]
        node = kind in (FileType.CHARACTER, FileType.BLOCK)
        names = sorted(os.listxattr(real, follow_symlinks=False))
        found[path] = FileFacts(
            path=path,
            type=kind,
            mode=stat.S_IMODE(seen.st_mode),
            uid=seen.st_uid,
            gid=seen.st_gid,
            size=seen.st_size if kind is FileType.FILE else 0,
            target=os.readlink(real) if kind is FileType.SYMLINK else "",  # noqa: PTH115 - names may be no UTF-8
            mtime=seen.st_mtime_ns // 1_000_000_000,
            sha256=sums[path] if kind is FileType.FILE else "",
            xattrs=tuple((name, os.getxattr(real, name, follow_symlinks=False).hex()) for name in names),
            device=(os.major(seen.st_rdev), os.minor(seen.st_rdev)) if node else (0, 0),
        )
    return found


def compared(old: dict[str, FileFacts], new: dict[str, FileFacts]) -> FileChanges:
    paths = sorted({*old, *new}, key=lambda path: path.encode("utf-8", "surrogateescape"))
    found = [change for path in paths if (change := change_of(old.get(path), new.get(path)))]
    touched = tuple(change.path for change in found if change.what == {Aspect.MTIME})
    return FileChanges(changes=tuple(one for one in found if one.what != {Aspect.MTIME}), touched=touched)


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def last_two_bases(images: Path) -> list[str]:
    said = run([str(Path(sys.executable).with_name("pipeline")), "--images", str(images), "--json", "log"])
    found = [
        f"{record['repository']}@{record['digest']}"
        for record in json.loads(said)["records"]
        if record["kind"] == "candidate" and record["tier"] == "base"
    ]
    if len(found) < 2:
        sys.exit(f"{images} has {len(found)} base candidates; build two")
    return found[-2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("refs", nargs="*", metavar="REF")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--secure", action="store_true", help="the registry speaks TLS")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if len(options.refs) != (0 if options.images else 2):
        parser.error("give OLD and NEW, or --images")
    refs = [ImageRef.parse(text) for text in options.refs or last_two_bases(options.images)]
    with tempfile.TemporaryDirectory(prefix="benchmark-diff-") as folder:
        report(refs, Path(folder), secure=options.secure, to=options.json)


def report(refs: list[ImageRef], folder: Path, *, secure: bool, to: Path | None) -> None:
    registry = Registry(refs[0].repository.registry, insecure=not secure)

    def by_tables() -> tuple[FileChanges, LayeredSnapshot, LayeredSnapshot]:
        images = [load_base(ref, registry) for ref in refs]
        old, new = Snapshots(TocStore(folder / "tables"), registry).open(*images)
        return file_changes(old, new), old, new

    times: dict[str, float] = {}
    times["cold"], (_, _, _) = timed(by_tables)
    runs = [timed(by_tables) for _ in range(9)]
    times["warm"] = statistics.median(seconds for seconds, _ in runs)
    found, *snapshots = runs[-1][1]

    store = Store(folder / "store")
    try:
        names = [f"{ref.repository}@{ref.pinned}" for ref in refs]
        pulled, _ = timed(
            lambda: [store("pull", "--quiet", f"--tls-verify={secure}".lower(), name) for name in names]
        )
        mounted, (facts, expected) = timed(lambda: mounted_facts(store, names))
        times |= {"unpack": pulled + mounted, "mounted": mounted}
        said_in, said = timed(lambda: store("diff", names[1], names[0]).splitlines())
    finally:
        store.close()
    agree(snapshots, facts)
    if found != expected:
        sys.exit("the sides found different changes")
    show(times, found, [len(one) for one in facts], (said_in, len(said)))
    if to:
        to.write_text(json.dumps({name: round(seconds * 1000) for name, seconds in times.items()}) + "\n")


def mounted_facts(store: Store, names: list[str]) -> tuple[list[dict[str, FileFacts]], FileChanges]:
    facts = [unpacked_facts(store("image", "mount", name)) for name in names]
    return facts, compared(facts[0], facts[1])


def agree(snapshots: list[LayeredSnapshot], facts: list[dict[str, FileFacts]]) -> None:
    for snapshot, expected in zip(snapshots, facts, strict=True):
        found = {one.path: one for one in snapshot.all()}
        wrong = [path for path in {*found, *expected} if found.get(path) != expected.get(path)]
        for path in sorted(wrong)[:10]:
            print(f"  {path}\n    table    {found.get(path)}\n    unpacked {expected.get(path)}")
        if wrong:
            sys.exit(f"{len(wrong)} of {len(expected)} entries differ between the sides")


def show(times: dict[str, float], found: FileChanges, entries: list[int], podman: tuple[float, int]) -> None:
    for name in ("unpack", "mounted", "cold", "warm"):
        print(f"{name:8} {times[name] * 1000:9.0f} ms")
    print(f"entries {entries[0]} and {entries[1]}, the same on both sides, fact by fact")
    print(f"differ  {len(found.changes)}, and {len(found.touched)} in their time alone; both sides agree")
    print(f"podman diff names {podman[1]} paths in {podman[0] * 1000:.0f} ms")
    for name, goal in GOALS.items():
        ratio = times["unpack"] / times[name]
        other = times["mounted"] / times[name]
        verdict = f"goal {goal:.0f}x, {'reached' if ratio >= goal else 'missed'}"
        print(f"{name}: {ratio:.1f}x faster than unpack ({verdict}), {other:.1f}x than mounted")


if __name__ == "__main__":
    main()
