"""Asks the person at the terminal a question that decides something.

Rules: only the whole word `yes` is a yes; there is nobody to ask unless both the answer and the question go
through a terminal, and never in CI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO


class Terminal:
    """Somebody at a terminal.

    Args:
        answers: Where answers are read.
        questions: Where questions are written.
    """

    def __init__(self, *, answers: TextIO, questions: TextIO) -> None:
        self._answers = answers
        self._questions = questions

    def ask(self, text: str) -> bool:
        """Return whether the answer was yes."""
        self._questions.write(f"{text} Type yes to sign: ")
        self._questions.flush()
        return self._answers.readline().strip() == "yes"


def somebody(answers: TextIO, questions: TextIO, environment: Mapping[str, str]) -> Terminal | None:
    """Return who can be asked; None in CI, or where the streams are no terminal."""
    if environment.get("CI") or not (answers.isatty() and questions.isatty()):
        return None
    return Terminal(answers=answers, questions=questions)
