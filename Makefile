# Everything one does here. `make help` lists it; CI runs nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
PROTOS := $(shell find protos -name '*.proto')
# Tests started at once. They wait more than they work: three keep two cores busy.
JOBS ?= 3

.PHONY: help setup protos format lint types unit test check demo up bench chaos wheel secrets lock clean

help: ## List the verbs
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 10

setup: .venv/.ready gen/.stamp ## The environment in .venv, from hashed requirements; free the second time

.venv/.ready: requirements-dev.txt requirements.in pyproject.toml tools/uv.txt tools/setup.py tools/hatch_build.py
	@python=$$(tools/preflight) && "$$python" tools/setup.py
	@touch $@

gen/.stamp: .venv/.ready tools/genprotos.py $(PROTOS)
	@$(BIN)/python tools/genprotos.py
	@touch $@

protos: gen/.stamp ## Compile protos/ into importable stubs

format: setup ## Rewrite files in the house style
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(BIN)/buf format --write protos

lint: setup types ## Style, types, contracts between packages and on the wire, files as data
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=.:gen $(BIN)/lint-imports
	$(BIN)/python tools/lint.py

types: setup ## Check types
	$(BIN)/mypy

unit: setup ## The pure and in-process tests: no servers, no faults
	$(BIN)/pytest -q -m "not server and not fault"

test: setup ## Everything, against a real broker and database
	$(BIN)/python -m tests.support.servers
	@$(BIN)/pytest -n $(JOBS) --dist worksteal; end=$$?; test $$end -eq 1 || exit $$end; \
	  echo "What failed, once more, alone; what passes now is unsteady and wants mending:"; \
	  $(BIN)/pytest -v --last-failed --last-failed-no-failures none --maxfail 1

check: lint test ## Everything CI asks before a merge

demo: setup ## A business day on embedded defaults; nothing left running
	$(BIN)/reach demo

up: setup ## Start the whole suite and keep it up
	$(BIN)/reach up

bench: setup ## Speed, side by side with its limit and its peers
	$(BIN)/python -m bench

chaos: setup ## Faults and kills, invariants checked
	$(BIN)/python -m tools.chaos

wheel: setup ## The wheels: the suite's and the callers'
	$(BIN)/python -m hatchling build -t wheel -d dist
	cd clients/python && ../../$(BIN)/python -m hatchling build -t wheel -d ../../dist

secrets: setup ## Random secrets for docker-compose.yml, in deploy/secrets
	$(BIN)/python tools/make_secrets.py

lock: setup ## Pin requirements*.in to versions and hashes, without addresses
	$(BIN)/python -m tools.lock

clean: ## Remove what can be made again
	rm -rf .venv gen .gen-* dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +
