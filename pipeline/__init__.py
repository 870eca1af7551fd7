"""Builds, proves, releases and rolls back bootc operating-system images."""

__version__ = "0.1.0"
