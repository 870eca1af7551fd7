"""Lets `python -m pipeline` do what the `pipeline` command does."""

from pipeline.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
