# Chartfleet's workshop. `make up` and `make test` need python3 >= 3.11 with venv and nothing else; they make their own .venv.
.ONESHELL:
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help
.PHONY: help up test check fix migrate schema bench e2e cluster docs lock runtime workshop
MAKEFLAGS += --no-print-directory

# Through the environment, so that any character may stand in them.
export MANIFESTS PORT
export STATE ?= .chartfleet
# Python would compile every module anew in each of our processes.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME PIP_USER PIP_TARGET PIP_REQUIRE_VIRTUALENV

help: ## print this
	@sed -n 's/^\([a-z0-9]*\):.*## /  make \1\t/p' Makefile | expand -t 18

up: runtime ## run everything here: make up [MANIFESTS=dir] [PORT=8080] [STATE=dir]; Ctrl-C stops it
	@set -- up --state "$$STATE"
	if [ -n "$$MANIFESTS" ]; then set -- "$$@" --manifests "$$MANIFESTS"; fi
	if [ -n "$$PORT" ]; then set -- "$$@" --port "$$PORT"; fi
	# Whatever ends this make, even kill -9, stops what it started.
	if command -v setpriv >/dev/null; then exec setpriv --pdeathsig TERM .venv/bin/chartfleet "$$@"; fi
	exec .venv/bin/chartfleet "$$@"

test: workshop ## run every test that this machine can run; says what it skips and why
	@exec .venv/bin/pytest -n 2 --dist worksteal -ra $(TESTS)

check: workshop ## look for mistakes: style, types, who may import whom
	@.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/basedpyright
	.venv/bin/lint-imports

fix: workshop ## correct what can be corrected
	@.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

migrate: runtime ## bring the database of CHARTFLEET_DATABASE_URL up to date
	@exec .venv/bin/python -m migrations

schema: runtime ## write migrations/schema.sql, the schema to read
	@.venv/bin/python -m cli.schema > .venv/schema.sql
	mv .venv/schema.sql migrations/schema.sql

bench: workshop ## measure syncs: time, memory, requests, rows; BENCH=growth (or another part), BENCH=--docs
	@exec .venv/bin/python -m bench $(BENCH)

e2e: workshop ## run only the tests of whole programs
	@exec .venv/bin/pytest -ra tests/e2e

cluster: ## build the tests' own Kubernetes, once: 10 minutes with Go
	@exec python3 -m tests.cluster.build

docs: runtime ## write docs/openapi.json and, with chromium, docs/page.png
	@exec .venv/bin/python -m cli.pictures docs

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	@compile="uv pip compile -q --universal --upgrade --generate-hashes --no-emit-index-url --custom-compile-command 'make lock'"
	command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 2; }
	eval "$$compile" pyproject.toml -o requirements.lock
	eval "$$compile" pyproject.toml --group workshop -c requirements.lock -o requirements-dev.lock
	echo 'hatchling>=1.27' | eval "$$compile" - -c requirements-dev.lock -o requirements-build.lock

# The environment. `.venv/made` is absent while it is being changed, so what was interrupted, or moved, is made anew.
runtime:
	@$(environment) requirements.lock requirements-build.lock

workshop:
	@$(environment) requirements.lock requirements-build.lock requirements-dev.lock

environment = exec sh .ci/environment
