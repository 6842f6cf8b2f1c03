# Works on a machine that has Python 3.11 to 3.13 and make; every target builds .venv when it is missing.
#
#   PYTHON=python3.12   another interpreter
#   TORCH=cpu|cuda      which build of torch; by default CUDA where this machine has an NVIDIA driver
#   LOCK=no             resolve the newest versions that pyproject.toml allows, rather than install the locked ones

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= $(if $(wildcard /proc/driver/nvidia/version)$(shell command -v nvidia-smi),cuda,cpu)
LOCK ?= yes
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED := 0

# uv installs in seconds what takes pip minutes, and reads its own settings only: it is told which index pip uses.
PIP_INDEX := $(or $(PIP_INDEX_URL),$(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null))
ifneq ($(PIP_INDEX),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX)
endif

.PHONY: help demo serve cluster cluster-down test test-slow test-clients lint format ci lock wheel
.DEFAULT_GOAL := help

help:
	@echo "make demo     rerank a small collection through the whole graph, then stop"
	@echo "make serve    the same graph, kept running on http://127.0.0.1:8000"
	@echo "make cluster  the production config on a head and four GPU nodes of this machine; loses one, keeps running"
	@echo "make cluster-down  stop it: no process is left"
	@echo "make test     the test suite"
	@echo "make test-slow  the tests that take minutes: faults, kills and load on a real cluster; scores without AVX-512"
	@echo "make test-clients  published client packages, in an environment of their own, against the endpoint"
	@echo "make lint     ruff and mypy"
	@echo "make ci       everything that must pass before a change lands: lint, demo, test"
	@echo "make lock     pin the versions of all dependencies anew: requirements/"
	@echo "make wheel    build dist/*.whl"
	@echo "make .venv    build the environment alone"

.venv: .venv/installed

# Locked versions need no resolver. Where uv cannot reach an index, pip and its own sources decide. Torch comes apart:
# its CPU build has an index of its own, which uv knows by name.
.venv/installed: pyproject.toml requirements/lock.txt requirements/torch.txt requirements/cuda.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
		"Python %d.%d is not supported: make PYTHON=python3.11, 3.12 or 3.13" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(shell grep ^uv== requirements/lock.txt)
ifeq ($(LOCK),no)
	$(BIN)/pip install --quiet --editable ".[dev]"
else
	$(call install,-r requirements/lock.txt) || { \
		echo "requirements/lock.txt does not fit this platform: make LOCK=no resolves versions that do" >&2; exit 2; }
ifeq ($(TORCH),cpu)
	$(call uv_install,--torch-backend cpu -r requirements/torch.txt) || \
		$(BIN)/pip install --quiet -r requirements/torch.txt
else
	$(call install,-r requirements/torch.txt -r requirements/cuda.txt)
endif
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
endif
	@touch $@

uv_install = $(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python $(1) 2>/dev/null
install = { $(call uv_install,$(1)) || $(BIN)/pip install --quiet --no-deps $(1); }

# The same versions for every supported Python and platform; no addresses, so any package index serves them.
lock: .venv
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		--no-annotate --no-header --output-file requirements/all.tmp
	grep -E '^torch==' requirements/all.tmp > requirements/torch.txt
	grep -E '^(triton|nvidia-|cuda-)' requirements/all.tmp > requirements/cuda.txt
	grep -vE '^(torch==|triton|nvidia-|cuda-)' requirements/all.tmp > requirements/lock.txt
	rm requirements/all.tmp

wheel: .venv
	$(BIN)/python -m build --wheel --no-isolation

demo: .venv
	$(BIN)/reranker demo

serve: .venv
	exec $(BIN)/reranker serve

cluster: .venv
	$(BIN)/reranker cluster up

cluster-down: .venv
	$(BIN)/reranker cluster down

# Makes an AVX-512 CPU compute as one without AVX-512 and bf16 instructions.
AS_PLAIN_CPU := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2

test: .venv
	$(BIN)/python -m pytest

test-slow: .venv
	$(BIN)/python -m pytest -m slow
	$(AS_PLAIN_CPU) $(BIN)/python -m pytest -m "slow or not slow" tests/reranker/test_parity.py tests/reranker/engine

# Published packages, which want other versions of some libraries than we do, and than each other. Those of npm are left
# out where there is no npm.
CLIENTS := tests/clients
.venv-clients/%/installed: $(CLIENTS)/%/requirements.txt | .venv
	$(PYTHON) -m venv .venv-clients/$*
	$(BIN)/uv pip install --quiet --python .venv-clients/$*/bin/python -r $< 2>/dev/null || \
		.venv-clients/$*/bin/python -m pip install --quiet -r $<
	@touch $@

$(CLIENTS)/javascript/node_modules: $(CLIENTS)/javascript/package.json
	! command -v npm >/dev/null || npm install --prefix $(@D) --no-audit --no-fund --no-package-lock --ignore-scripts

test-clients: .venv-clients/sdks/installed .venv-clients/frameworks/installed $(CLIENTS)/javascript/node_modules
	@status=0; \
	.venv-clients/sdks/bin/python -m pytest $(CLIENTS)/sdks $(CLIENTS)/javascript || status=1; \
	.venv-clients/frameworks/bin/python -m pytest $(CLIENTS)/frameworks || status=1; \
	exit $$status

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ci: lint demo test

format: .venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
