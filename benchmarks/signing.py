"""Signing what a fleet needs with a key file: `cosign sign-blob`, one start a processor, and this program.

A hundred hosts with a signature and three attestations each are 400 blobs. Both sides sign the same ones with
the same key, and every signature is verified. Processor time is the figure: wall time depends on what else
the machine does.

Run: .venv/bin/python benchmarks/signing.py [--blobs 400]
"""

from __future__ import annotations

import argparse
import base64
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cosigntool import cosign_program, key_pair  # noqa: E402

from pipeline.adapters.process import Processes  # noqa: E402
from pipeline.adapters.signer import signer_for  # noqa: E402
from pipeline.domain.signature import VerifyKey  # noqa: E402


def ours(private: Path, blobs: Sequence[bytes], _folder: Path) -> list[bytes]:
    """Open the key and sign."""
    signer = signer_for(Processes(environment=os.environ), str(private), environment={})
    return list(signer.sign(blobs))


def by_cosign(private: Path, blobs: Sequence[bytes], folder: Path) -> list[bytes]:
    """Deal the blobs to as many starts of cosign as there are processors."""
    files = [folder / f"{number:06d}" for number in range(len(blobs))]
    for file, blob in zip(files, blobs, strict=True):
        file.write_bytes(blob)
    starts = os.cpu_count() or 1
    size = -(-len(files) // starts)
    shares = [files[at : at + size] for at in range(0, len(files), size)]
    with ThreadPoolExecutor(starts) as pool:
        return [one for made in pool.map(lambda share: started(private, share), shares) for one in made]


def started(private: Path, files: Sequence[Path]) -> list[bytes]:
    """Sign files by one start of cosign."""
    options = ("--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--yes")
    done = subprocess.run(
        [cosign_program(), "sign-blob", f"--key={private}", "--timeout=1h", *options, *map(str, files)],
        env={**os.environ, "COSIGN_PASSWORD": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    return [base64.b64decode(line) for line in done.stdout.split()]


def processor() -> float:
    """Return the seconds of processor time that this process and its children took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measured(
    sign: Callable[[Path, Sequence[bytes], Path], list[bytes]],
    private: Path,
    blobs: Sequence[bytes],
    key: VerifyKey,
) -> tuple[float, float]:
    """Return wall and processor time, seconds; fail if a signature is not good."""
    with tempfile.TemporaryDirectory() as folder:
        wall, used = time.perf_counter(), processor()
        made = sign(private, blobs, Path(folder))
        took = time.perf_counter() - wall, processor() - used
    if len(made) != len(blobs) or not all(map(key.verifies, blobs, made)):
        raise SystemExit(f"{sign.__name__}: the signatures are not good")
    return took


def main() -> None:
    """Print both sides and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--blobs", type=int, default=400)
    count = parser.parse_args().blobs
    blobs = [f'{{"image":"os/web-{number}"}}'.encode() for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        private, public = key_pair(Path(folder), "release")
        key = VerifyKey.parse("release.pub", public.read_text())
        here, there = (measured(sign, private, blobs, key) for sign in (ours, by_cosign))
    for name, (wall, used) in (("pipeline", here), ("cosign sign-blob", there)):
        print(f"{name:18}{count} blobs  {wall:7.2f} s wall  {used:7.2f} s of processors")
    print(f"{'ratio':18}{there[0] / here[0]:17.0f}x wall  {there[1] / here[1]:7.0f}x")


if __name__ == "__main__":
    main()
