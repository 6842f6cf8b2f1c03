# Works on a machine that has Python 3.11 or newer and make; every target builds .venv when it is missing.
# TORCH=cpu takes torch's CPU build on a Linux machine without a GPU, where the default brings gigabytes of CUDA.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TORCH_RANGE := torch>=2.13,<2.14
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help demo serve cluster cluster-down test test-slow lint format
.DEFAULT_GOAL := help

help:
	@echo "make demo     rerank a small collection through the whole graph, then stop"
	@echo "make serve    the same graph, kept running on http://127.0.0.1:8000"
	@echo "make cluster  the production config on a head and four cards of this machine; loses one, keeps running"
	@echo "make cluster-down  stop it: no process is left"
	@echo "make test     the test suite"
	@echo "make test-slow  the tests that take minutes of a real cluster: faults, kills, load"
	@echo "make lint     ruff and mypy"
	@echo "make .venv    build the environment alone"

.venv: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
ifeq ($(TORCH),cpu)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu "$(TORCH_RANGE)" || { \
		echo "torch's own index of CPU builds cannot be reached: taking what pip finds"; \
		$(BIN)/pip install --quiet "$(TORCH_RANGE)"; }
else
	$(BIN)/pip install --quiet "$(TORCH_RANGE)"
endif
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@

demo: .venv
	$(BIN)/python -m cluster.local.demo

serve: .venv
	set -a; . ./serve.env; exec $(BIN)/serve run serve_config.laptop.yaml

cluster: .venv
	$(BIN)/reranker cluster up

cluster-down: .venv
	$(BIN)/reranker cluster down

test: .venv
	$(BIN)/python -m pytest

test-slow: .venv
	$(BIN)/python -m pytest -m slow

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
