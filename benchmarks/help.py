"""`pipeline --help` against `python -c pass`: what the command costs before it does anything. Goal: under 4x.

Run: .venv/bin/python benchmarks/help.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 40


def fastest(argv: list[str]) -> float:
    """Return the shortest of many runs, seconds: the one least disturbed."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print both figures and the ratio."""
    command = str(Path(sys.executable).with_name("pipeline"))
    nothing = fastest([sys.executable, "-c", "pass"])
    ours = fastest([command, "--help"])
    print(f"python -c pass   {nothing * 1000:6.1f} ms (fastest of {ROUNDS})")
    print(f"pipeline --help  {ours * 1000:6.1f} ms (fastest of {ROUNDS})")
    print(f"ratio            {ours / nothing:6.2f} (goal: under 4)")


if __name__ == "__main__":
    main()
