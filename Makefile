# What contributors run. CONTRIBUTING.md says how to set up .venv; PYTHON=… takes another one.
PYTHON ?= .venv/bin/python

.PHONY: help test test-slow lint format types pyright coverage bench docs pictures ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

test: ## the tests, on all cores
	$(PYTHON) -m pytest -n auto

test-slow: ## the tests that take more than eight seconds each
	$(PYTHON) -m pytest -n auto -m slow

lint: ## style
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: ## fix what ruff can fix
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types: ## mypy
	$(PYTHON) -m mypy

pyright: ## what an editor sees; downloads Node.js the first time
	$(PYTHON) -m pyright --pythonpath $(PYTHON)

coverage: ## lines and branches that no test runs
	$(PYTHON) -m pytest -n auto -m 'slow or not slow' --cov --cov-report term --cov-report html

bench: ## on this machine: a token with and without the cache, each policy, and what the dashboard costs
	$(PYTHON) -m kvtui bench
	$(PYTHON) benchmarks/instruments.py
	$(PYTHON) benchmarks/policies.py
	$(PYTHON) benchmarks/dashboard.py

docs: ## the parts of the documentation that are made from the source
	set -e; for script in docs/make_*.py; do $(PYTHON) $$script; done

pictures: ## docs/images; the times in them are measured, so on an otherwise idle machine
	$(PYTHON) docs/screenshots.py
	$(PYTHON) docs/figures.py

ci: ## everything, from scratch, in a copy of the checkout
	.ci/run
