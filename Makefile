# Everything a newcomer needs: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench bench-pricing bench-loops sizes clean help

help:           ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  /'

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/ready      ## replay a trace through an aggregated and a disaggregated cluster
	$(BIN)/sim run experiments/001-first-run/aggregated.yaml --out runs/demo-aggregated
	$(BIN)/sim run experiments/001-first-run/disaggregated.yaml --out runs/demo-disaggregated
	@echo "Open runs/demo-disaggregated/report.html in a browser."

test: .venv/ready-dev  ## run the tests
	$(BIN)/python -m pytest -n 2

check: .venv/ready-dev ## format, lint, types, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell sim tests experiments docs README.md CHANGELOG.md traces topologies

bench: .venv/ready-dev ## speed of the simulator on this machine (minutes)
	$(BIN)/python -m tests.benchmarks.bench

bench-pricing: .venv/ready-dev ## microseconds of pricing a step, by layout and kind of attention
	$(BIN)/python -m tests.benchmarks.pricing

bench-loops: .venv/ready-dev ## speed of large rollouts: playing, writing, measuring
	$(BIN)/python -m tests.benchmarks.loops

sizes:          ## the longest files and functions
	@find sim -name '*.py' | xargs wc -l | sort -rn | head -12

clean:          ## remove what was made here
	rm -rf .venv runs build *.egg-info
