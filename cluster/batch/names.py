"""Names in the output directory of a job."""

RUN, BAD_ROWS, JOB, SUCCESS, REPORT = "run.trec", "bad_rows.jsonl", "job.json", "_SUCCESS", "report.json"
PARTS, PLAN = "parquet", "work"


def path_of(unit: int) -> str:
    """The path of a unit's part."""
    return f"{PARTS}/part-{unit:06d}.parquet"


def is_part(name: str) -> bool:
    """Whether this path is that of some part."""
    return name.startswith(f"{PARTS}/part-") and name.endswith(".parquet")
