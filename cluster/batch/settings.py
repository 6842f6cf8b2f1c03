"""Settings of one batch job. Field descriptions are also the help of `reranker batch`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from reranker.errors import InvalidField
from reranker.ir.locations import is_url, redacted
from reranker.settings import CheckpointSettings, EngineSettings, Settings


def _place(output: str | Path) -> str | Path:
    """A path, or the URL of an object store as it is: a path would lose one of its slashes. Raises InvalidField."""
    if not is_url(output):
        return Path(output)
    if not str(output).startswith("s3://"):
        raise InvalidField(
            "output", f"{redacted(output)!r} cannot be written: use a directory, or s3://bucket/prefix"
        )
    return output


Location = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
_FORMS = "--queries with --corpus and --run, or --pairs, or --candidates"
# These say how a job runs and do not change its result.
_NOT_IN_MANIFEST = {"output", "work_dir", "resume", "address", "scorers", "encoders", "max_bad_rows"}


class BatchSettings(Settings):
    """Inputs, model and output of a job.

    The inputs are one of: queries, corpus and run; pairs, one row per candidate; candidates, one row per query.
    """

    queries: Location | None = Field(
        None, description="Queries with _id and text: .jsonl, .json, .csv, .tsv or .parquet, as all tables here."
    )
    corpus: Location | None = Field(
        None, description="Passages with _id and text, and optionally title; a file of any size."
    )
    run: Location | None = Field(None, description="First-stage run in TREC format.")
    pairs: Location | None = Field(
        None,
        description="Table with one row per candidate: query_id, query, docid, text, and optionally title and "
        "first_stage_score.",
    )
    candidates: Location | None = Field(
        None,
        description="Table with one row per query: query_id, query, and the lists docids and texts, and optionally "
        "titles and first_stage_scores.",
    )
    output: Annotated[str | Path, AfterValidator(_place)] = Field(
        description="Output directory or s3://bucket/prefix; it must be empty or not exist yet, except with --resume."
    )
    resume: bool = Field(False, description="Resume the unfinished job in --output, if there is one.")
    depth: PositiveInt | None = Field(
        None, description="Max candidates read per query, in the order of the first stage; all by default."
    )
    top_k: PositiveInt | None = Field(None, description="Max candidates kept per query; all by default.")
    max_bad_rows: NonNegativeInt = Field(
        0, description="Max rows that may be skipped as unreadable, missing or without a finite score."
    )
    unit_pairs: PositiveInt = Field(
        2_000,
        description="Max pairs per unit of work (or one whole query), scored and written together: what is lost when "
        "a scorer dies.",
    )
    work_dir: Path | None = Field(
        None,
        description="Directory on this machine for the job's passages, which are removed at the end; by default the "
        "output directory, or with s3:// the one for temporary files.",
    )
    address: str | None = Field(
        None, description="Running Ray cluster, 'auto' or host:port; by default Ray is started on this machine."
    )
    scorers: PositiveInt | None = Field(
        None, description="Max scorer actors; by default one per GPU of the cluster, or one on CPUs."
    )
    encoders: PositiveInt | None = Field(None, description="Max tokenizer actors; by default one per 8 scorers.")
    checkpoint: CheckpointSettings = CheckpointSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _one_form_of_input(self) -> "BatchSettings":
        """Raises InvalidField."""
        given = list(self.inputs)
        if given not in (["queries", "corpus", "run"], ["pairs"], ["candidates"]):
            got = " and ".join(f"--{name}" for name in given) or "none of them"
            raise InvalidField("input", f"give {_FORMS}; got {got}")
        return self

    @property
    def inputs(self) -> dict[str, str]:
        """Path or URL of each given input, by role."""
        roles = ("queries", "corpus", "run", "pairs", "candidates")
        return {role: location for role in roles if (location := getattr(self, role)) is not None}

    def for_manifest(self) -> dict[str, Any]:
        """The settings that determine the result, as JSON, without passwords in URLs."""
        inputs = {role: redacted(location) for role, location in self.inputs.items()}
        return self.model_dump(mode="json", exclude=_NOT_IN_MANIFEST) | inputs

    def scores_depend_on(self) -> dict[str, Any]:
        """Settings that must be equal for a job to be resumed; input files and weights are compared by checksum."""
        return {
            "depth": self.depth,
            "top_k": self.top_k,
            "unit_pairs": self.unit_pairs,
            "recipe": self.checkpoint.recipe,
            "instruction": self.checkpoint.instruction,
            "template": self.checkpoint.template,
            "max_pair_tokens": self.checkpoint.max_pair_tokens,
            "pooling": self.checkpoint.pooling,
            "dtype": self.checkpoint.dtype,
            "engine": self.engine.model_dump(mode="json"),
        }
