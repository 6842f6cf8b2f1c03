"""What a log may say of an unexpected failure: its kind and where it happened, never its message.

A message may quote what the code was working on, and that may be a client's text.
"""

from __future__ import annotations

import logging
import re
import traceback

from ray.exceptions import RayTaskError

_FRAME = re.compile(r'File "([^"\n]{1,300})", line (\d{1,9}), in ([\w<>.]{1,100})')
_MAX_FRAMES = 12  # the innermost ones
_MAX_CAUSES = 4


def log_failure(log: logging.Logger, what: str, error: BaseException) -> None:
    """One line at the default level; at DEBUG the whole traceback, with messages."""
    log.error("%s: %s", what, failure_without_texts(error))
    log.debug("%s", what, exc_info=error)


def failure_without_texts(error: BaseException | None) -> str:
    """One line: the types of an error and of its causes, each with its innermost frames, the innermost first."""
    parts: list[str] = []
    while error is not None and len(parts) < _MAX_CAUSES:
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        if isinstance(error, RayTaskError):  # of another process, which sent its frames as text
            frames += [f"{file}:{line} {name}" for file, line, name in _FRAME.findall(str(error))]
        parts.append(" < ".join([type(error).__name__, *reversed(frames[-_MAX_FRAMES:])]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "; caused by ".join(parts)
