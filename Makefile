# Every target installs what it needs by itself: a fresh clone needs only Python 3.11+ and make.
PYTHON ?= python3
STAMP  := .venv/.installed
RUN    := .venv/bin/
PEERS  := .venv-bench/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check bench bench-quick clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## create .venv with everything pinned in constraints.txt

# torch first and pinned: a looser requirement would pull gigabytes of CUDA where there is no GPU.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "emergence needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(RUN)python -m pip install --quiet --constraint constraints.txt torch
	$(RUN)python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## train a ladder, print the verdicts, write runs/quickstart/report.html
	$(RUN)emergence run quickstart

test: $(STAMP)  ## every test but the slow ones
	$(RUN)python -m pytest -n 2

test-slow: $(STAMP)  ## the tests that take minutes
	$(RUN)python -m pytest -m slow

check: $(STAMP)  ## ruff and mypy
	$(RUN)ruff check .
	$(RUN)ruff format --check .
	$(RUN)mypy

# The peers of the contests live in an environment of their own, so that they never decide what the project runs on.
$(PEERS): pyproject.toml constraints.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-bench/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $(PEERS)

bench: $(PEERS)  ## the measurements behind docs/benchmarks.md, peers included
	.venv-bench/bin/python -m benchmarks

bench-quick: $(PEERS)  ## the ratios that matter, in two minutes; fails where one fell by more than 20 %
	.venv-bench/bin/python -m benchmarks.quick

clean:  ## remove the environment, caches and build products; studies under runs/ stay
	rm -rf .venv .venv-bench build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
