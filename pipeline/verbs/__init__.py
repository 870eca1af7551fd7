"""The use cases, one a file: each returns a result or raises; none prints or exits."""
