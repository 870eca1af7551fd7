"""The verbs of the command line, read from its parser; and the command, run in this process."""

from __future__ import annotations

import argparse
import signal

from pipeline import cli
from pipeline.arguments import parser


def verbs() -> dict[str, str]:
    """Return every verb of the command line with what its help says; `ci render` counts as one."""
    found: dict[str, str] = {}

    def collect(above: argparse.ArgumentParser, prefix: str) -> None:
        for action in above._actions:
            if isinstance(action, argparse._SubParsersAction):
                helps = {str(one.dest): str(one.help) for one in action._choices_actions}
                for name, below in action.choices.items():
                    full = f"{prefix}{name}"
                    nested = any(isinstance(one, argparse._SubParsersAction) for one in below._actions)
                    if nested:
                        collect(below, f"{full} ")
                    else:
                        found[full] = helps[name]

    collect(parser(), "")
    return found


def run_main(*words: str) -> int:
    """Run the command as `pipeline` does; the signal handlers it sets are put back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return cli.main(words)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
