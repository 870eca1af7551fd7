"""What people type, as values: the tier, the day or the path that an option or a variable names."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from pipeline.domain.image import Tier
from pipeline.errors import UsageError


def tier_of(text: str | None) -> Tier | None:
    """Return a tier by its name on the command line."""
    return None if text is None else Tier(text)


def typed_path(text: str) -> Path:
    """Return a path that a person typed, `~` and all."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - one without a home stays as it is, and is told as missing


def day_of(text: str | None, option: str) -> dt.date:
    """Return a day written YYYY-MM-DD.

    Raises:
        UsageError: It is missing or no day.
    """
    try:
        return dt.date.fromisoformat(text or "")
    except ValueError:
        raise UsageError(f"{option} {text or 'is missing'}: no day", hint="write YYYY-MM-DD") from None
