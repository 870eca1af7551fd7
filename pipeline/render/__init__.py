"""Results as text, JSON and live progress: the only code that writes to stdout."""
