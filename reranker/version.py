"""The version of the whole project: the one place it is written."""

__version__ = "0.5.0"
