# What contributors run. CONTRIBUTING.md says how to set up .venv; PYTHON=… takes another one.
PYTHON ?= .venv/bin/python

TESTS ?= tests/core tests/tui tests/docs tests/test_recipes.py

.PHONY: help test test-slow test-everywhere lint format types pyright coverage bench docs pictures ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' Makefile

test: ## the tests, on all cores
	$(PYTHON) -m pytest -n auto

test-slow: ## the tests that take more than eight seconds each
	$(PYTHON) -m pytest -n auto -m slow

# The settings of test-everywhere: how OpenBLAS and NumPy round depends on the processor, and what a test sees on its load.
# What NumPy dispatches is named differently from version to version, hence the question.
ON := haswell skylakex zen one-thread two-threads no-avx512 no-simd load any-order
DISPATCHED = $(shell $(PYTHON) -c 'from numpy._core._multiarray_umath import __cpu_dispatch__ as names; print(*names)')

test-everywhere: $(ON:%=test-on-%) ## the tests as on other processors, with other threads, under load, in another order (make -k)

test-on-haswell: export OPENBLAS_CORETYPE := Haswell
test-on-skylakex: export OPENBLAS_CORETYPE := SkylakeX
test-on-zen: export OPENBLAS_CORETYPE := Zen
test-on-one-thread: export OPENBLAS_NUM_THREADS := 1
test-on-two-threads: export OPENBLAS_NUM_THREADS := 2
test-on-no-avx512: export NPY_DISABLE_CPU_FEATURES = $(strip $(foreach name,$(DISPATCHED),$(if $(findstring 512,$(name))$(findstring V4,$(name)),$(name))))
test-on-no-simd: export NPY_DISABLE_CPU_FEATURES = $(DISPATCHED)
$(filter-out %-load %-any-order,$(ON:%=test-on-%)):
	$(PYTHON) -m pytest -q -n auto -p no:randomly $(TESTS)

test-on-load:
	yes > /dev/null & first=$$!; yes > /dev/null & second=$$!; trap "kill $$first $$second" EXIT; \
	$(PYTHON) -m pytest -q -n 6 -p no:randomly $(TESTS)

test-on-any-order:
	$(PYTHON) -m pytest -q -n auto -p randomly $(TESTS)

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
