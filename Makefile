# Everything a newcomer needs: `make demo` and `make test` install what they use into .venv, once.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?= 1
# What another program of this machine put here must not reach our interpreter.
unexport PYTHONPATH PYTHONHOME

.PHONY: help install test verify coverage lint demo chaos bench cost lock advisories
help:
	@echo "make demo            a simulated fleet, from meter events to priced sessions in ClickHouse"
	@echo "make test            before each commit: lint, types, contracts, tests; at most ten minutes on two cores"
	@echo "make verify          what takes longer: chaos, drills, attacks, scored fleets, the wheel; .ci/run runs both"
	@echo "make coverage        branches that the tests of make test take; fails for an unlisted module below 80 %"
	@echo "make lint            only ruff, mypy and import-linter"
	@echo "make chaos [SEED=n]  kill, pause and restart everything under load; FAULTS=all or some, SCALE=mini: less"
	@echo "make bench           throughput and latency against the limit and the peers; writes build/bench.json"
	@echo "make cost BASE=rev   CPU per event of this tree against another revision, over one log; about three minutes"
	@echo "make advisories DB=d known holes in what is pinned, from OSV's exports in folder d; says so when there are none"
	@echo "make install         only .venv; PYTHON=python3.12 chooses the interpreter"

install: $(STAMP)
	@echo "$(VENV) is up to date"

# Hashes and an editable install exclude each other in pip: first everything pinned, build backend included, then us.
$(STAMP): constraints.txt pyproject.toml pipeline/embedded/kafka_jars.sha256
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Chargeline needs Python 3.11 or newer; say which one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned requirements into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
	  --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pipeline.embedded.jars install
	@touch $@

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two halves beside each other: one mostly computes and then waits for its broker, the other mostly waits for its own.
BESIDE := tests/agents tests/domain tests/schemas tests/wire tests/runtime

test: lint
	@$(BIN)/pytest -q -m "not verify" $(BESIDE) > .pytest-beside.log 2>&1 & beside=$$!; \
	  $(BIN)/pytest -m "not verify" $(BESIDE:%=--ignore=%); rest=$$?; \
	  wait $$beside; found=$$?; cat .pytest-beside.log; exit $$((rest + found))

# One after the other: these load the machine on purpose and watch what that does.
verify: install
	$(BIN)/pytest -m verify

coverage: install
	@mkdir -p build
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -m "not verify"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet -o build/coverage.json
	$(BIN)/python -m tests.coverage build/coverage.json

demo: install
	$(BIN)/chargeline demo

chaos: install
	$(BIN)/python -m tests.chaos --seed $(SEED) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SCALE),--scale $(SCALE))

bench: install
	$(BIN)/python -m tests.bench

cost: install
	@test -n "$(BASE)" || { echo "name the revision to compare with: make cost BASE=main" >&2; exit 2; }
	$(BIN)/python -m tests.cost "$(BASE)"

# Without network: DB is a folder with exports of the OSV database; without one it says so and exits 3.
advisories: install
	$(BIN)/python -m tests.advisories "$(DB)"

# After a change of the dependencies in pyproject.toml; needs uv, which nothing else here does.
lock:
	rm -f constraints.txt ops/container/requirements.txt
	uv --no-config pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --quiet --group build --output-file ops/container/requirements.txt
	uv --no-config pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --quiet --group build --group dev --constraint ops/container/requirements.txt \
	  --output-file constraints.txt
