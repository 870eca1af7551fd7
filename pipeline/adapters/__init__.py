"""The outside world, one tool a file, each behind a small interface of the domain or the verbs."""
