"""`reranker plan`: its table, its JSON, and the page that shows them."""

import json
import re
import shlex
from pathlib import Path

import pytest

from cluster.planning.gpus import GPUS
from tests.cluster.conftest import Shell

PAGE = Path(__file__).parents[3] / "docs" / "capacity.md"
LOAD = ("plan", "--requests-per-s", "1", "--documents", "10")


def test_tables_of_the_page_are_what_its_commands_print(shell: Shell) -> None:
    page = PAGE.read_text("utf-8")
    commands = re.findall(r"^reranker (plan .+)$", page, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        code, out, err = shell(*shlex.split(command))
        assert (code, err) == (0, "")
        missing = [line for line in out.splitlines() if line.startswith("|") and line not in page]
        assert missing == [], f"run `reranker {command}` and paste its table"


def test_page_has_the_figures_and_sources_of_every_gpu() -> None:
    page = PAGE.read_text("utf-8")
    for gpu in GPUS.values():
        figures = [gpu.title, f"{gpu.peak_flops / 1e12:g}", f"{gpu.memory_bytes / 1e9:g}"]
        figures.append(f"{gpu.bandwidth_bytes_per_s / 1e9:,.0f}")
        assert f"| {' | '.join(figures)} |" in page
        assert re.split(r"[ ,]", gpu.source)[0] in page


def test_one_gpu_is_explained(shell: Shell) -> None:
    code, out, err = shell(*LOAD, "--gpu", "l4", "--p99-ms", "2000", "--price-per-hour", "0.8")
    assert (code, err) == (0, "")
    assert "at most 80% of the time" in out
    assert "51% of 121 dense bf16 TFLOP/s" in out
    assert "assumed, not measured" in out
    assert "www.nvidia.com/en-us/data-center/l4" in out
    for limit in ("p99, at", "queue, at", "one request alone, at", "memory, at"):
        assert limit in out.split("What breaks: ")[1].splitlines()[0]


def test_json_has_a_plan_or_a_reason_for_every_gpu(shell: Shell) -> None:
    code, out, _ = shell(*LOAD, "--model", "rankllama-13b", "--price-per-hour", "2", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["asked"]["requests_per_s"] == 1
    assert answer["request"] == {"documents": 10, "tokens": 85, "query_tokens": 16}
    assert [plan["gpu"] for plan in answer["plans"]] == list(GPUS)
    refused = {plan["gpu"]: plan["refused"] for plan in answer["plans"] if "refused" in plan}
    assert set(refused) == {"l4", "a10g", "4090"}
    (plan,) = [plan for plan in answer["plans"] if plan["gpu"] == "h200"]
    assert set(plan) == {
        "gpu",
        "replica",
        "replicas",
        "utilisation",
        "lone_s",
        "latency",
        "limits",
        "gpu_hours_per_million_pairs",
        "cost_per_hour",
        "cost_per_million_pairs",
        "source",
    }
    assert set(plan["latency"]) == {"p50_s", "p99_s"}
    assert plan["replica"]["share_of_peak"] == 0.51
    assert plan["cost_per_hour"] == 2 * plan["replicas"]


def test_json_of_a_job_has_hours_and_cost(shell: Shell) -> None:
    job = ("plan", "--batch", "--pairs", "1000000", "--gpus", "4", "--gpu", "h100", "--price-per-hour", "3", "--json")
    code, out, _ = shell(*job)
    assert code == 0
    (plan,) = json.loads(out)["plans"]
    assert plan["cost"] == plan["gpu_hours"] * 3
    assert plan["gpu_hours"] == plan["seconds"] / 3600 * 4


@pytest.mark.parametrize(
    "load",
    [
        "--requests-per-s 1e-6 --documents 1 --tokens 1",
        "--requests-per-s 9 --documents 10000 --gpu b200 --shard-chars 1",
        "--batch --pairs 1000000000000000 --gpus 1000000 --price-per-hour 1e9",
        "--batch --pairs 1 --documents 1000000 --tokens 1000000",
    ],
)
def test_json_of_extreme_loads_is_finite(shell: Shell, load: str) -> None:
    code, out, err = shell("plan", *load.split(), "--json")
    assert (code, err) == (0, "")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    json.loads(out, parse_constant=refuse)


def test_a_cpu_is_planned_at_its_measured_speed(shell: Shell) -> None:
    code, out, _ = shell(*LOAD, "--gpu", "cpu", "--tokens-per-s", "16100", "--model", "embedded")
    assert code == 0
    assert "| cpu | 1 |" in out
    assert "16,100 tokens of pairs/s: given as --tokens-per-s" in out


def test_longer_documents_are_cut_and_said_so(shell: Shell) -> None:
    _, out, _ = shell(*LOAD, "--tokens", "500", "--gpu", "h200")
    assert "100 documents" not in out
    assert "10 documents of 212 tokens behind 16 of the query" in out
    assert "(documents are cut: the model reads 228 tokens a pair)" in out
