# One command each.  `make` alone lists them.
#
# The environment is .venv, made by the first Python >= 3.11 that is found; name another with `make PYTHON=...`.
# A stamp file per step inside .venv makes every later run start at once; a changed pyproject.toml renews the steps.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1

BIN := .venv/bin
PIP := $(BIN)/python -m pip
SOURCES := raft_core actors tests examples benchmarks docs

# They play many seeds and search much, and take no branch that the others do not take.
BUSY := --deselect tests/verify/test_simulation.py::test_among_a_few_seeds_every_misfortune_happens_and_every_event_meets_every_role \
    --deselect tests/verify/test_explored_leases.py::test_a_read_that_is_too_old_is_found_if

.PHONY: help demo test lint check docs bench compare kill-trials histories storm million lab mutants simulate explore mutation-score coverage clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.stamp-project ## a replicated counter: 20000 increments, kill -9, recovery
	@$(BIN)/actorum demo

test: .venv/.stamp-test ## the whole suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.stamp-lint ## style, format, types, import contracts
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports

check: lint test ## lint and test: what a change must pass

docs: .venv/.stamp-project ## write the reference pages anew, from the code
	@$(BIN)/python docs/generate.py

bench: .venv/.stamp-bench ## commits per second on this machine, beside PySyncObj
	@$(BIN)/python -m benchmarks.throughput --json report/throughput.json
	@$(BIN)/python -m benchmarks.core_cost

compare: .venv/.stamp-compare ## message passing against locks: a minute and a half, into ./report
	@$(BIN)/actorum compare

kill-trials: .venv/.stamp-test ## kill -9 peers at random moments: 60 trials at saturation, 60 at 2,000 commands/s, each runtime
	@for runtime in actors locks; do \
	    $(BIN)/python -m tests.chaos.kill_trials --runtime $$runtime --trials 60 --load saturation --storage memory && \
	    $(BIN)/python -m tests.chaos.kill_trials --runtime $$runtime --trials 60 --load 2000 --storage sqlite || exit 1; \
	done

histories: .venv/.stamp-test ## are histories under kill -9, SIGSTOP and partitions linearizable: 50 runs of 5,000 operations (twenty minutes)
	@for runtime in actors locks; do \
	    $(BIN)/python -m tests.chaos.histories --runtime $$runtime --storage memory --runs 12 --operations 5000 --seed 1 && \
	    $(BIN)/python -m tests.chaos.histories --runtime $$runtime --storage sqlite --runs 13 --operations 5000 --seed 101 || exit $$?; \
	done

storm: .venv/.stamp-test ## 200 changes of members, snapshots, kills, pauses and partitions under load, on each runtime (ten minutes)
	@for runtime in actors locks; do \
	    $(BIN)/python -m tests.chaos.storm --runtime $$runtime --operations 200 --seed 1 --storage sqlite || exit $$?; \
	done

million: .venv/.stamp-test ## a million commands with snapshots: memory, disk, restart, a fresh peer (five minutes)
	@$(BIN)/python -m benchmarks.million

lab: .venv/.stamp-test ## the lab's scenarios: 1,000 seeds of each in simulation, 5 passes in threads and processes (hours)
	@for runtime in actors locks; do \
	    $(BIN)/python -m tests.lab.campaign --runtime $$runtime --engine sim --seeds 1000 && \
	    $(BIN)/python -m tests.lab.campaign --runtime $$runtime --engine threads --passes 5 && \
	    $(BIN)/python -m tests.lab.campaign --runtime $$runtime --engine processes --passes 5 || exit 1; \
	done

mutants: .venv/.stamp-test ## well-known mistakes put into core and runtimes, and which instrument notices them (ten minutes)
	@$(BIN)/python -m tests.mutants.scoreboard --write docs/reference/scoreboard.md

simulate: .venv/.stamp-test ## 2,000 seeds of simulated clusters, 10,000 steps each (ten minutes)
	@$(BIN)/python -m actors check simulate --seeds 2000

explore: .venv/.stamp-test ## every schedule of three servers within bounds, millions of situations (ten minutes, 4 GB)
	@$(BIN)/python -m actors check explore --terms 2 --commands 2 --crashes 1 --under-way 3 --most 12000000

# In a copy, so that nothing is left in the tree.
mutation-score: .venv/.stamp-mutation ## small changes all over the core, and which of them its own tests do not notice (ten minutes)
	@rm -rf report/mutation && mkdir -p report/mutation && cp -R raft_core actors tests pyproject.toml report/mutation
	@cd report/mutation && nice $(abspath $(BIN))/mutmut run --max-children 2 && $(abspath $(BIN))/mutmut export-cicd-stats

coverage: .venv/.stamp-test ## every branch of raft_core is taken by its own tests, nearly all of raft_core.verify by theirs
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q tests/core tests/golden/test_scripts.py --cov --cov-report=
	@$(BIN)/coverage report --omit='raft_core/verify/*' --fail-under=100
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q tests/verify tests/golden/test_language.py $(BUSY) --cov --cov-append --cov-report=
	@$(BIN)/coverage report --include='raft_core/verify/*' --fail-under=95

clean: ## remove the environment, caches and what runs left behind
	@rm -rf .venv build dist report demo-data htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
	@rm -rf .hypothesis .import_linter_cache .benchmarks *.egg-info
	@find raft_core actors tests $(wildcard examples benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +

# A candidate must run (a version manager's shim may exist and fail), be new enough and be able to make a virtual environment.
.venv/.stamp-python:
	@python="$(PYTHON)"; \
	for candidate in python3.13 python3.12 python3.11 python3; do \
	    [[ -z "$$python" ]] || break; \
	    "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    python="$$candidate"; \
	done; \
	[[ -n "$$python" ]] || { echo "error: no Python >= 3.11 with venv found; install one, or: make PYTHON=/path/to/python" >&2; exit 1; }; \
	echo "making .venv with $$("$$python" --version)"; \
	"$$python" -m venv --clear .venv
	@touch $@

.venv/.stamp-project: .venv/.stamp-python pyproject.toml
	@echo "installing actorum into .venv"
	@$(PIP) install --editable .
	@touch $@

# `--group` (PEP 735) came with pip 25.1.
.venv/.stamp-pip: .venv/.stamp-python
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

.venv/.stamp-test: .venv/.stamp-project .venv/.stamp-pip
	@echo "installing what the tests need"
	@$(PIP) install --group test
	@touch $@

.venv/.stamp-lint: .venv/.stamp-test
	@echo "installing what the checks need"
	@$(PIP) install --group lint
	@touch $@

.venv/.stamp-mutation: .venv/.stamp-test
	@echo "installing the mutation tester"
	@$(PIP) install --group mutation
	@touch $@

.venv/.stamp-bench: .venv/.stamp-project .venv/.stamp-pip
	@echo "installing what the benchmark compares with"
	@$(PIP) install --group bench
	@touch $@

.venv/.stamp-compare: .venv/.stamp-project .venv/.stamp-pip
	@echo "installing what the comparison needs"
	@$(PIP) install --editable '.[compare]'
	@touch $@
