# Two commands are enough: `make train` and `make test`. Each target makes .venv first when it is missing.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: train test test-slow check literature bench soak clean help

help:
	@echo "make train [ARGS=\"model=resnet init=orthogonal\"]   train, log to W&B, test"
	@echo "make test        quick tests (no network)      make test-slow   the minutes-long ones"
	@echo "make check       ruff and mypy                 make clean       remove runs/"
	@echo "make literature  what papers say, measured     make soak        1,000 runs killed and continued"
	@echo "make bench       speed against the bare machine and against others"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("isometry needs Python >= 3.11, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

train: .venv/installed
	$(BIN)/python train.py $(ARGS)

test: .venv/installed
	$(BIN)/python -m pytest -n 2 $(ARGS)

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow $(ARGS)

check: .venv/installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

literature: .venv/installed
	$(BIN)/python benchmarks/literature/reproduce.py $(ARGS)

bench: .venv/installed
	$(BIN)/python -W ignore benchmarks/speed $(ARGS)

soak: .venv/installed
	$(BIN)/python benchmarks/reliability.py $(ARGS)

clean:
	rm -rf runs
