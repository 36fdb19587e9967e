# make demo | test | lint | docs | bench | clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
HELDOUT_LEDGER_DEMO := demo-study/ledger.sqlite

COMPILED := tests/test_train.py  # as XLA does it for users

.PHONY: demo test test-ends lint docs bench clean

demo: $(VENV)/.installed  ## The main job on an example: is a tumour malignant?
	@if [ ! -f demo-study/study.json ]; then \
		$(BIN)/heldout run example:breast_cancer --output demo-study --ledger $(HELDOUT_LEDGER_DEMO); \
	else \
		$(BIN)/heldout report demo-study --ledger $(HELDOUT_LEDGER_DEMO); \
	fi

test: $(VENV)/.test  ## The whole suite, here and at both ends of the supported Pythons
	$(BIN)/python -m pytest -n 2
	XLA_FLAGS= $(BIN)/python -m pytest -n 2 $(COMPILED)
	@sh tools/test_ends.sh "$(BIN)/python"

lint: $(VENV)/.lint  ## Style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.docs  ## The site, in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.bench  ## heldout beside its peers; writes docs/benchmarks.md
	$(BIN)/python benchmarks/all.py

clean:
	rm -rf $(VENV) .venv-* demo-study docs/_build build dist

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "heldout needs Python 3.11 to 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing heldout and what it needs (once; a minute or two)"
	@$(BIN)/python $(PIP) --editable .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.bench: $(VENV)/.%: $(VENV)/.created pyproject.toml constraints.txt
	@echo "Installing heldout with the extra '$*'"
	@$(BIN)/python $(PIP) --editable ".[$*]"
	@touch $@ $(VENV)/.installed
