# One verb per thing people do here. `make` alone lists them.
# Variables: PYTHON=python3.12 (which interpreter), VENV=.venv-3.12 (where), ONCE=1 (demo ends by itself), ARGS="..." (passed on).

SHELL := /bin/sh
VENV ?= .venv
ARGS ?=
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs soak clean
# Two verbs at once would install into one environment at once.
.NOTPARALLEL:
.SECONDARY:

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.has-demo ## the local model answers over SSE, live in this terminal; ONCE=1 ends by itself
	@$(PY) -m streamkit demo $(if $(filter-out 0,$(ONCE)),--once) $(ARGS)

test: $(VENV)/.has-test ## all tests; ARGS="tests/wire -x" runs some of them
	@PYTHONPATH=tests/house $(PY) -m pytest -p verdict $(ARGS)

check: $(VENV)/.has-test $(VENV)/.has-bench $(VENV)/.has-check ## ruff, mypy --strict, pyright strict, pyrefly
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict
	@$(PY) -m pyright --pythonpath $(PY)
	@$(PY) -m pyrefly check --summary=none --python-interpreter-path $(PY)
	@echo "make check: all clean"

bench: $(VENV)/.has-bench $(VENV)-peers/.has-peers ## our figures beside those of the libraries people use
	@$(PY) benchmarks/run.py $(ARGS)

docs: $(VENV)/.has-docs ## the documentation, as HTML in docs/_build/html
	@$(PY) -m sphinx -q -n -W --keep-going -b html docs docs/_build/html
	@echo "make docs: docs/_build/html/index.html"

soak: $(VENV)/.has-test ## thousands of streams left at random moments; ARGS="--seconds 600" for longer
	@$(PY) benchmarks/soak.py $(ARGS)

clean: ## remove what the other verbs made
	rm -rf $(VENV) $(VENV)-peers .venv-* .node build dist docs/_build benchmarks/results .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# -- environments: a stamp per group, made again when pyproject.toml changes

$(VENV)/.made: tools/venv.sh
	@PYTHON="$(PYTHON)" tools/venv.sh $(VENV)
	@touch $@

$(VENV)/.has-demo: pyproject.toml $(VENV)/.made
	@echo "streamkit: installing what the demo needs (once)" >&2
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.has-test: pyproject.toml $(VENV)/.made
	@echo "streamkit: installing what the tests need (once; a minute or two)" >&2
	@$(PIP) -e '.[all]' --group test
	@touch $@

# Frameworks that pin older SDKs than ours are measured in an environment of their own.
$(VENV)-peers/.has-peers: pyproject.toml
	@PYTHON="$(PYTHON)" tools/venv.sh $(VENV)-peers
	@echo "streamkit: installing the frameworks that 'make bench' measures beside us (once; a minute or two)" >&2
	@$(VENV)-peers/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-input --group peers
	@touch $@

$(VENV)/.has-%: pyproject.toml $(VENV)/.made
	@echo "streamkit: installing what 'make $*' needs (once)" >&2
	@$(PIP) -e '.[all]' --group $*
	@touch $@
