# The two commands to know: `make demo` makes a picture through the REST API, `make test` runs everything CI runs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := PYTHONWARNINGS=ignore $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
TORCH  := torch==2.13.0
export OMP_NUM_THREADS ?= 1

.PHONY: help demo serve test lint format types imports unit bench clean
help:
	@echo "make demo   set up, start the server, make one picture over REST, stop"
	@echo "make serve  set up and serve on http://127.0.0.1:8888 (ARGS='--port 9000' …)"
	@echo "make test   set up and run everything CI runs"
	@echo "make bench  print the benchmarks' tables"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Focal needs Python 3.11 or newer; set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and pinned: a looser range would pull another build.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Focal into $(VENV) (the first time takes a few minutes) ..."
	$(PIP) $(TORCH)
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps k-diffusion==0.1.1.post1  # an oracle; of its dependencies sampling.py needs only what is here
	@touch $@

demo: $(VENV)/.runtime
	@$(BIN)/python -m api.demo $(ARGS)

serve: $(VENV)/.runtime
	@$(BIN)/focal serve $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/pyright

imports: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

test: lint types imports unit

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.jobs
	$(BIN)/python -m benchmarks.api
	$(BIN)/python -m benchmarks.png
	$(BIN)/python -m benchmarks.sdxl

# Leaves data/ alone: it holds models, jobs and pictures.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
