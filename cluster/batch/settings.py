"""Settings of one batch job."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from reranker.errors import InvalidField
from reranker.ir.records import shown
from reranker.settings import CheckpointSettings, EngineSettings, Settings

Where = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
_FORMS = "--queries with --corpus and --run, or --pairs, or --candidates"
# How a job runs, not what comes out of it.
_NOT_IN_MANIFEST = {"output", "resume", "address", "scorers", "encoders", "max_bad_rows"}


class BatchSettings(Settings):
    """What to rerank, with which model, and where the result goes. One of three forms of input:

    queries, corpus and run; or pairs, a row a candidate; or candidates, a row a query with its candidates as lists.
    """

    queries: Where | None = Field(None, description="Queries: _id and text.")
    corpus: Where | None = Field(None, description="Passages: _id, title and text.")
    run: Where | None = Field(None, description="First stage: a TREC run.")
    pairs: Where | None = Field(None, description="Rows of query_id, query, docid, title, text, first_stage_score.")
    candidates: Where | None = Field(
        None, description="Rows of query_id, query, and lists: docids, titles, texts, first_stage_scores."
    )
    output: Path = Field(description="A directory that does not exist yet, or is empty; or an unfinished job's.")
    resume: bool = Field(False, description="Go on with the unfinished job in `output`, where there is one.")
    depth: PositiveInt | None = Field(None, description="Candidates read of each query, by the first stage's order.")
    top_k: PositiveInt | None = Field(None, description="Candidates kept of each query; None keeps all.")
    max_bad_rows: NonNegativeInt = Field(0, description="Rows that may be left out as unreadable or unscorable.")
    unit_pairs: PositiveInt = Field(
        2_000, description="Pairs that are scored and written together, and the most a scorer's death costs."
    )
    address: str | None = Field(None, description="A running Ray cluster; None starts one on this machine.")
    scorers: PositiveInt | None = Field(
        None, description="Scorer actors at most; None takes one for each GPU of the cluster, or one on CPUs."
    )
    encoders: PositiveInt | None = Field(
        None, description="Tokenizing actors at most; None takes one for every eight scorers."
    )
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
        """Where each file that is given lies, by its role."""
        roles = ("queries", "corpus", "run", "pairs", "candidates")
        return {role: where for role in roles if (where := getattr(self, role)) is not None}

    def for_manifest(self) -> dict[str, Any]:
        """How the result came about, as JSON: nothing of how the job ran, and no password that a URL carries."""
        inputs = {role: shown(where) for role, where in self.inputs.items()}
        return self.model_dump(mode="json", exclude=_NOT_IN_MANIFEST) | inputs

    def scores_depend_on(self) -> dict[str, Any]:
        """What another job must share to go on with this one; the files and the model are compared apart."""
        return {
            "depth": self.depth,
            "top_k": self.top_k,
            "unit_pairs": self.unit_pairs,
            "template": self.checkpoint.template,
            "max_pair_tokens": self.checkpoint.max_pair_tokens,
            "dtype": self.checkpoint.dtype,
            "engine": self.engine.model_dump(mode="json"),
        }
