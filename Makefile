# The chores of this repository. `make` lists them.
# Everything lands in .venv, with the versions of requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# torch only exports models; its CPU build is enough, and far smaller than the default of Linux.
TORCH ?= torch==2.13.0
# The benchmark's peers. Without its dependencies: it asks for torchvision, which the benchmark does without.
PEERS ?= pytorch-ood==0.4.0

.DEFAULT_GOAL := help
.PHONY: help demo test check services bench detection arm train pictures dashboards lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: .venv/.demo ## show it at work on this machine (ARGS=--once ends by itself)
	$(BIN)/driftprint demo $(ARGS)

test: .venv/.dev services ## run all tests (ARGS=tests/core runs a part)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: .venv/.dev ## lint, formatting, types, and which part may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests bench
	$(BIN)/lint-imports

services: ## the servers that tests start: mosquitto, Prometheus, Chromium, an RTSP camera
	@tests/install-services

bench: .venv/.dev ## measure what the README quotes
	$(BIN)/python -m bench.overhead

detection: .venv/.dev ## measure how well outliers are told from inliers; hours (ARGS=--quick: minutes)
	$(BIN)/python -m bench.detection $(ARGS)

arm: .venv/.dev ## prove that the base install runs on 64-bit ARM; minutes, emulated, as root (docs/arm.md)
	$(BIN)/python -m bench.arm $(ARGS)

train: .venv/.dev ## train a reference model and export its bundle (ARGS=mnist)
	$(BIN)/python -m driftprint_export.reference.train $(ARGS)

pictures: .venv/.dev services ## take the README's pictures from a run of the demo
	$(BIN)/python -m docs.images.make

dashboards: .venv/.dev ## write the Grafana dashboards' JSON
	$(BIN)/python -m deploy.grafana

lock: ## pin the latest versions that pyproject.toml allows (needs uv)
	echo '$(TORCH)' | uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --constraint - \
		--upgrade --no-annotate --no-emit-index-url --custom-compile-command 'make lock' --output-file requirements.lock

clean: ## remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

.venv/.demo: .venv/bin/python pyproject.toml requirements.lock
	$(PIP) install --quiet --constraint requirements.lock --editable '.[demo]'
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml requirements.lock
	$(PIP) install --quiet '$(TORCH)'
	$(PIP) install --quiet --constraint requirements.lock --editable '.[dev]'
	$(PIP) install --quiet --no-deps '$(PEERS)'
	@touch $@ .venv/.demo
