# Every target sets up what it needs: a fresh machine with Python 3.10 or later, pip and make
# can start with `make demo` or `make test`.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.PHONY: help test bare crash originals check demo docs format clean
.DELETE_ON_ERROR:

help:
	@echo "make test    lint, types, layers, file sizes, then all tests"
	@echo "make bare    all tests as if llvmlite and Triton were not installed (TESTS=… some)"
	@echo "make crash   kill training 50 times at random moments; resumed, it must end with the same bits"
	@echo "make originals  install fastai, labml, timm, Composer and qhoptim aside; ours must equal theirs"
	@echo "make docs    build the documentation into docs/_build/html, running every tutorial"
	@echo "make check   lint, types, layers and file sizes alone"
	@echo "make demo    train one small network with four optimizers and compare them"
	@echo "make format  rewrite the sources as ruff formats them"
	@echo "make clean   remove .venv, caches and build products"
	@echo
	@echo "PYTHON=python3.12 chooses the interpreter of a new .venv (now: $(PYTHON))"

test: check
	$(BIN)/python -m pytest $(PARALLEL)

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_size.py

# The engines that are left must do everything but be as fast.
bare: $(INSTALLED)
	$(BIN)/python -m pytest --without llvmlite --without triton $(PARALLEL) $(TESTS)

crash: $(INSTALLED)
	$(BIN)/python tests/crash.py --times 50

# Without dependencies, which would replace torch; in a folder of their own, which tests alone see.
originals: $(INSTALLED)
	$(BIN)/python -m pip install -q --no-deps --target .originals --upgrade -r tests/originals.txt
	ORIGINALS=required PYTHONPATH=.originals $(BIN)/python -m pytest -q tests/test_originals*.py

# A failing tutorial or a warning stops the build. It leaves every page and picture in docs/_build.
docs: $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -E -W --keep-going -b html docs docs/_build/html

demo: $(INSTALLED)
	$(BIN)/steppers compare

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv .originals .pytest_cache .ruff_cache .hypothesis build dist docs/_build docs/learn
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than what decides the packages, so they are installed once.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@

# An environment that was left half made (no ensurepip, interrupted) is removed again.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "steppers needs Python 3.10 or later: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
