"""All errors that callers see, as one tree.

    RerankerError
    ├── InvalidRequest            the caller can fix it
    │   ├── MalformedBody         not JSON, or not a JSON object
    │   │   └── UnreadEncoding    compressed in a way that is not read here
    │   ├── InvalidField          a field is missing, of the wrong type or out of bounds
    │   │   └── EmptyField        a query without text, no documents
    │   ├── TooManyCandidates
    │   ├── PairTooLong           only under truncation "error"
    │   ├── UnscorableDocument    the model, or the replica that runs it, fails on this document
    │   ├── UnknownModel
    │   ├── Unauthenticated       no valid API key
    │   ├── Forbidden             a valid key whose role may not do this
    │   ├── HeadersTooLarge
    │   ├── BodyTooLarge
    │   ├── TooManyValues         of JSON, whatever their size
    │   └── BodyTooSlow
    ├── InvalidFile               a file of queries, passages, runs or qrels
    │   └── TooManyBadRows        more bad rows than the caller allows
    ├── TrainingFailed            a run cannot go on; its last good checkpoint is kept
    ├── JobRefused                the output directory belongs to another job, or to one still running
    ├── CheckpointError           this checkpoint cannot be served
    │   ├── FidelityError         its scores differ from Hugging Face's
    │   └── MissingWeights        its files lack tensors that its config requires
    └── ServiceError              a failure of the service, not of the request
        ├── Overloaded
        │   └── RateLimited       the client's own tokens per minute
        ├── Unavailable
        ├── DeadlineExceeded
        ├── CannotWrite           a result cannot be written, for example to a full disk
        └── NonFiniteLogit

Knows nothing of HTTP or exit codes: deployments and cluster map classes to them. Arguments are positional and kept
in `args`, so that every error can be pickled between Ray processes.
"""

from pathlib import Path
from typing import Any, Self


class RerankerError(Exception):
    """Base of the tree. `str(error)` is one line: what was received, what is allowed, what to do."""


class DocumentError(RerankerError):
    """Mixed into errors about one document. index: its position, first argument of the error."""

    def __init__(self, index: int, *args: Any) -> None:
        super().__init__(index, *args)
        self.index = index

    def at(self, index: int) -> Self:
        """The same error, with the position in a longer list of documents."""
        return type(self)(index, *self.args[1:])


class InvalidRequest(RerankerError):
    """The request cannot be answered as sent."""


class MalformedBody(InvalidRequest):
    """The body is not a JSON object."""


class UnreadEncoding(MalformedBody):
    """The body is compressed in a way that is not read here."""

    def __init__(self, encoding: str) -> None:
        super().__init__(encoding)
        self.encoding = encoding

    def __str__(self) -> str:
        return f"the body is compressed as {self.encoding!r:.80}: send it as gzip, or without content-encoding"


class InvalidField(InvalidRequest):
    """One field is missing, of the wrong type or out of bounds."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field, self.problem = field, problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class EmptyField(InvalidField):
    """A required field is empty."""


class TooManyCandidates(InvalidRequest):
    """The request has more documents than one request may."""

    def __init__(self, got: int, limit: int) -> None:
        super().__init__(got, limit)
        self.got, self.limit = got, limit

    def __str__(self) -> str:
        return f"{self.got} documents, limit {self.limit}: split the request"


class PairTooLong(DocumentError, InvalidRequest):
    """A pair exceeds the model's length, and the caller asked not to truncate."""

    def __init__(self, index: int, limit: int) -> None:
        super().__init__(index, limit)
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"document {self.index} and the query exceed {self.limit} tokens together: "
            'shorten them, or send truncation "model" or "max_passage"'
        )


class UnscorableDocument(DocumentError, InvalidRequest):
    """The model fails on this document alone, or replicas exit whenever they score it."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"document {self.index} cannot be scored ({self.reason}): leave it out"


class UnknownModel(InvalidRequest):
    """The request names a model that is not served here, and model names are checked."""

    def __init__(self, got: str, served: str) -> None:
        super().__init__(got, served)
        self.got, self.served = got, served

    def __str__(self) -> str:
        return f"model {self.got[:80]!r} is not served here; this endpoint serves {self.served!r}"


class Unauthenticated(InvalidRequest):
    """No valid API key came with the request. It is not said whether one was missing, unknown or revoked."""

    def __str__(self) -> str:
        return "no valid API key: send one as `Authorization: Bearer KEY`, `x-api-key: KEY` or `api-key: KEY`"


class Forbidden(InvalidRequest):
    """The API key is valid, and its role may not do this."""

    def __init__(self, role: str, needed: str) -> None:
        super().__init__(role, needed)
        self.role, self.needed = role, needed

    def __str__(self) -> str:
        return f"the role of this API key is {self.role!r}: use a key with the role {self.needed!r}"


class HeadersTooLarge(InvalidRequest):
    """The headers exceed the limits."""

    def __init__(self, limit_bytes: int, limit_lines: int) -> None:
        super().__init__(limit_bytes, limit_lines)
        self.limit_bytes, self.limit_lines = limit_bytes, limit_lines

    def __str__(self) -> str:
        return f"the headers exceed {self.limit_bytes} bytes or {self.limit_lines} lines: send fewer of them"


class BodyTooLarge(InvalidRequest):
    """The body exceeds the size limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"the body exceeds {self.limit_bytes} bytes: split the request"


class TooManyValues(InvalidRequest):
    """The body has more JSON values than may be built."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"the body has more than {self.limit} JSON values: split the request, or leave out unused fields"


class BodyTooSlow(InvalidRequest):
    """The body did not arrive in time."""

    def __init__(self, limit_ms: int) -> None:
        super().__init__(limit_ms)
        self.limit_ms = limit_ms

    def __str__(self) -> str:
        return f"the body did not arrive within {self.limit_ms} ms: send it faster, or split the request"


class InvalidFile(RerankerError):
    """A file is not valid for its purpose, or cannot be read."""

    def __init__(self, path: str | Path, problem: str, line: int | None = None) -> None:
        super().__init__(str(path), problem, line)
        self.path, self.problem, self.line = str(path), problem, line

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.problem}"


class TooManyBadRows(InvalidFile):
    """More rows are bad than the caller allows; the message describes the first one over the limit."""

    def __init__(self, path: str | Path, problem: str, line: int | None, got: int, limit: int) -> None:
        super().__init__(path, problem, line)
        self.args = (str(path), problem, line, got, limit)
        self.got, self.limit = got, limit

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.got} bad so far, --max-bad-rows allows {self.limit})"


class JobRefused(RerankerError):
    """A job may not write to this output, or may not resume what another job started."""


class TrainingFailed(RerankerError):
    """Training cannot start or go on; the message says at which step, and what to do."""


class CheckpointError(RerankerError):
    """This checkpoint cannot be served; the message says why and what to do."""


class FidelityError(CheckpointError):
    """A checkpoint's golden scores were not reproduced. problem: what differs. advice: what to do."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem, advice)
        self.problem, self.advice = problem, advice

    def __str__(self) -> str:
        return f"{self.problem}: {self.advice}"


class MissingWeights(CheckpointError):
    """A checkpoint has no weights file, or its files lack tensors that its config requires."""


class ServiceError(RerankerError):
    """The request was valid; the service could not answer it."""


class Overloaded(ServiceError):
    """The queue, or the client's share of it, is full. retry_after_s: time until all work queued now is done."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"too much work is queued: retry in {max(0.1, self.retry_after_s):.1f} s"


class RateLimited(Overloaded):
    """The client's API key has a rate, and it is used up. tokens: of this request, estimated."""

    def __init__(self, retry_after_s: float, tokens: int) -> None:
        super().__init__(retry_after_s)
        self.args = (retry_after_s, tokens)
        self.tokens = tokens

    def __str__(self) -> str:
        wait_s = max(0.1, self.retry_after_s)
        return f"this API key's tokens per minute do not allow {self.tokens} now: retry in {wait_s:.1f} s"


class NoScorerYet(Overloaded):
    """The scorers are scaled to zero, and one is starting. retry_after_s: time until it should run."""

    def __str__(self) -> str:
        return f"no scorer is running, one is starting: retry in {self.retry_after_s:.0f} s"


class Unavailable(ServiceError):
    """No replica can answer at present."""


class DeadlineExceeded(ServiceError):
    """The answer was not ready in time."""

    def __init__(self, timeout_ms: int) -> None:
        super().__init__(timeout_ms)
        self.timeout_ms = timeout_ms

    def __str__(self) -> str:
        return f"no answer within {self.timeout_ms} ms: allow more time or send fewer documents"


class CannotWrite(ServiceError):
    """A result cannot be written; results written before are kept."""


class NonFiniteLogit(DocumentError, ServiceError):
    """The model returned NaN or infinity; such a score never enters a ranking."""

    def __str__(self) -> str:
        return f"the model gave no finite score for document {self.index}: its weights or dtype are at fault"
