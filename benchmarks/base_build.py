"""`pipeline build --tier base` against a plain shell script of the same podman commands. Goal: 2 % overhead.

The script does what a hand-written one would: pull, toolchain, both module stages side by side, the final
stage with COPY lines written by hand, push. It makes no manifests, runs no gates and records nothing; all
that is part of our side. What proves the image (SBOM, boot test, diff, evidence) the script does not do at
all: its time is told apart, and the goal is for the rest. The module stages alone, one after the other, show
what side by side is worth; --quick leaves them out.

Needs what `make demo` left. Takes about 20 minutes on two cores.
Run: .venv/bin/python benchmarks/base_build.py [demo] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

TAG = "localhost/benchmark"
PODMAN = "podman --runtime runc"
PROOF = {"sbom", "boot", "diff", "evidence"}
"""Stages of a build that prove the image."""

LIMITS = "--ulimit nofile=20000:20000 --ulimit nproc=30000:30000"


def timed(argv: list[str], folder: Path) -> tuple[float, str]:
    """Return how long a command takes, seconds, and what it printed; it must succeed."""
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{argv} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - start, done.stdout


def pipeline_build(demo: Path) -> tuple[float, float]:
    """Return how long `pipeline build --tier base` takes, and how much of it is proof, seconds."""
    argv = [sys.executable, "-m", "pipeline", "--json", "build", "--tier", "base"]
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=demo, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{argv} failed:\n{done.stderr[-2000:]}")
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    ends = [one for one in events if one["event"] == "end"]
    return took, sum(one["elapsed"] for one in ends if one["stage"].split()[0] in PROOF)


def stages_of(output: str) -> float:
    """Return how long the module stages took inside the script, seconds."""
    line = next(line for line in output.splitlines() if line.startswith("stages "))
    before, after = line.split()[1:]
    return float(after) - float(before)


def ledger(demo: Path) -> list[dict[str, Any]]:
    """Return the records of the demo's ledger."""
    argv = [sys.executable, "-m", "pipeline", "--json", "log"]
    done = subprocess.run(argv, cwd=demo, capture_output=True, text=True, check=True)
    records: list[dict[str, Any]] = json.loads(done.stdout)["records"]
    return records


def module_files(base: str) -> dict[str, list[str]]:
    """Return each module set's files, as the base's manifests list them."""
    root = subprocess.run(
        [*PODMAN.split(), "image", "mount", base], capture_output=True, text=True, check=True
    ).stdout.strip()
    manifests = sorted(Path(root, "usr/lib/pipeline/modules").glob("*.json"))
    files = {path.stem: [one["path"] for one in json.loads(path.read_text())["files"]] for path in manifests}
    subprocess.run([*PODMAN.split(), "image", "unmount", base], capture_output=True, check=True)
    return files


def build_command(name: str, file: str, words: str) -> str:
    """Return the shell command of one builder stage."""
    return (
        f"{PODMAN} build -q --no-cache --force-rm --network host {LIMITS} -t {TAG}:{name} {words}"
        f" -f Containerfiles/debian/{file} Containerfiles/debian"
    )


def stage(name: str, pin: dict[str, Any]) -> str:
    """Return the shell command of one module stage."""
    modules = tomllib.loads(Path("images/debian/base/base.toml").read_text())["modules"]
    module = next(one for one in modules if one["name"] == name)
    arguments = {
        "UPSTREAM": f"{TAG}:toolchain",
        "KERNEL": pin["kernel"],
        "KERNEL_DEVEL": " ".join(pin["kernel_devel"]),
        "PACKAGE": f"{module['package']}={pin['modules'][name]}",
        "MODULE": module["dkms"],
        "MODULE_SET": name,
    }
    words = " ".join(f"--build-arg '{key}={value}'" for key, value in arguments.items())
    return build_command(name, module["containerfile"], f"--squash {words}")


def script(pin: dict[str, Any], upstream: str, registry: str, files: dict[str, list[str]]) -> str:
    """Return the hand-written script."""
    copies = "\\n".join(
        f'COPY --from={TAG}:{name} ["/out{path}","{path}"]' for name, paths in files.items() for path in paths
    )
    packages = " ".join(f"{name}={version}" for name, version in pin["userspace"].items())
    extra = " ".join(tomllib.loads(Path("images/debian/base/base.toml").read_text())["packages"])
    background = " & ".join(stage(name, pin) for name in files)
    tools = build_command("toolchain", "toolchain.Containerfile", f"--build-arg UPSTREAM={upstream}")
    return f"""set -e
final=$(mktemp)
trap 'rm -f "$final"' EXIT
{PODMAN} pull -q --tls-verify=false {upstream}
{tools}
before=$(date +%s.%N)
{background} & wait -n; wait -n
echo "stages $before $(date +%s.%N)"
sed 's|^# pipeline:modules|{copies}|' Containerfiles/debian/base.Containerfile > "$final"
{PODMAN} build -q --no-cache --force-rm --network host {LIMITS} --squash -t {TAG}:base \\
  --build-arg UPSTREAM={upstream} --build-arg 'KERNEL={pin["kernel"]}' \\
  --build-arg 'KERNEL_PACKAGES={" ".join(pin["kernel_packages"])}' \\
  --build-arg 'PACKAGES={packages} {extra}' --build-arg TIMESTAMP=$(git log -1 --format=%ct) \\
  -f "$final" Containerfiles/debian
{PODMAN} push -q --tls-verify=false {TAG}:base {registry}/benchmark/base:shell
"""


def main() -> None:
    """Run both sides and print the figures."""
    words = argparse.ArgumentParser()
    words.add_argument("demo", nargs="?", default="demo")
    words.add_argument("--quick", action="store_true")
    given = words.parse_args()
    demo = Path(given.demo).resolve()
    os.chdir(demo)
    records = ledger(demo)
    base = next(one for one in reversed(records) if one["image"] == "base")
    pin = tomllib.loads((demo / "images/debian/pins.toml").read_text())["pins"]["base"]
    upstream_record = next(one for one in reversed(records) if one["image"] == pin["upstream"])
    upstream = f"{upstream_record['repository']}@{upstream_record['digest']}"
    registry = base["repository"].partition("/")[0]
    name = f"{base['repository']}@{base['digest']}"
    subprocess.run(
        [*PODMAN.split(), "pull", "-q", "--tls-verify=false", name], check=True, capture_output=True
    )
    files = module_files(name)

    shell, said = timed(["bash", "-c", script(pin, upstream, registry, files)], demo)
    ours, proof = pipeline_build(demo)
    print(f"shell script of the same commands   {shell:7.1f} s")
    print(f"pipeline build --tier base          {ours - proof:7.1f} s, with manifests, gates and record")
    print(f"ratio                               {(ours - proof) / shell:7.3f} (goal: under 1.02)")
    print(f"and what proves the image           {proof:7.1f} s", flush=True)
    if given.quick:
        return
    both = stages_of(said)
    alone = sum(timed(["bash", "-c", stage(one, pin)], demo)[0] for one in files)
    print(f"module stages one after the other   {alone:7.1f} s ({', '.join(files)})")
    print(f"module stages side by side          {both:7.1f} s")
    print(f"ratio                               {both / alone:7.3f}")


if __name__ == "__main__":
    main()
