# Each target does all its own set-up, on a machine that has Python 3.10 or newer.

SHELL := /bin/bash
PYTHON ?= $(shell for v in 3.13 3.12 3.11 3.10; do p=$$(command -v python$$v) && "$$p" -c 'import venv, ensurepip' 2>/dev/null && echo "$$p" && exit; done; command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo/observability

# What the parser in Rust is built from. It is left out where there is no Rust; tests and linters bring one into this cache.
LINE_PARSER := $(wildcard line_parser/src/*.rs) line_parser/Cargo.toml line_parser/Cargo.lock
RUST := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/observability-beam-pipeline/rust
ifneq ($(shell rustc --version 2>/dev/null | awk '{split($$2, v, "."); print (v[1] * 1000 + v[2] >= 1088)}'),1)
OWN_RUST := RUSTUP_HOME=$(RUST)/rustup CARGO_HOME=$(RUST)/cargo PATH="$(RUST)/cargo/bin:$$PATH"
endif
CARGO := $(OWN_RUST) cargo

.PHONY: demo test lint format clean

demo: $(VENV)/embedded
	rm -rf demo
	$(BIN)/python -m beam_pipeline generate --output=$(DEMO) --events=200000
	$(BIN)/python -m beam_pipeline --runner=DirectRunner --input=$(DEMO)
	$(BIN)/python -m beam_pipeline status --input=$(DEMO)

test: $(VENV)/test
	$(BIN)/python -m tests.support.flink
	$(BIN)/python -m tests.support.prism
	$(OWN_RUST) $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --durations=25

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(CARGO) fmt --manifest-path=line_parser/Cargo.toml --check
	$(CARGO) clippy --manifest-path=line_parser/Cargo.toml --locked --quiet -- --deny=warnings

format: $(VENV)/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(CARGO) fmt --manifest-path=line_parser/Cargo.toml

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis line_parser/target transforms/events/*.so

$(VENV)/embedded $(VENV)/test: $(VENV)/%: pyproject.toml setup.py $(LINE_PARSER)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; give it as PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
ifdef OWN_RUST
	-$(if $(filter test,$*),$(BIN)/python -m pip install -qq puccinialin && $(BIN)/python -m puccinialin --location=$(RUST) --info-json=/dev/null && $(OWN_RUST) rustup --quiet component add clippy rustfmt)
endif
	$(if $(filter test,$*),$(OWN_RUST)) $(BIN)/python -m pip install -qq --editable '.[embedded$(if $(filter test,$*),$(comma)test)]'
	touch $@

comma := ,
