# make book                              install, check this machine at smoke, build the book with
#                                        the best run at hand for each page
# make book PROFILE=smoke|laptop|gpu     run the notebooks at this size and show these runs
# make test                              everything that must hold
# make readme                            README's verdicts from book/records
# make picture                           README's picture from the page it is on
# make hero                              the picture of the book's first screen
# make differential                      our attacks beside three other libraries' (optional)
# JOBS=n: runs at a time; by default one a core, as far as the free memory holds them
PYTHON ?= python3
PROFILE ?=
JOBS ?=
WORDS := $(if $(JOBS),--jobs $(JOBS))
VENV := .venv
BIN := $(VENV)/bin
# by module, since a script's first line cannot name a path with every character;
# -P: no file of this folder may stand for a library of its name
ROBUSTNB := $(BIN)/python -P -m robustnb.reproduce.main
PYTEST := $(BIN)/python -m pytest
BOOK := $(VENV)/.installed-book
DEV := $(VENV)/.installed-dev
PEERS := .venv-peers
TEST := env ROBUSTNB_BUILD=build/test ROBUSTNB_MODELS="$$PWD/build/test/models" OMP_NUM_THREADS=1 PYTHONHASHSEED=0
ISOLATED := $(BIN)/python -m robustnb.reproduce.isolation build/test/settings
TIMES := --junitxml=build/test/times
NBVAL := --nbval-current-env --nbval-cell-timeout 86400 --nbval-kernel-startup-timeout 86400 -p no:cacheprovider

.PHONY: help book test lint unit notebooks nbval readme picture hero benchmarks peers differential clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "robustnb needs Python 3.11 or newer; say make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(BOOK): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the book's tools and torch (two minutes, 6 GB, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[book]'
	@touch $@

$(DEV): $(BOOK)
	@echo "installing the test tools"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

book: $(BOOK)
	$(ROBUSTNB) book $(if $(PROFILE),--profile $(PROFILE)) $(WORDS)

test: lint unit nbval

lint: $(DEV)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# The smoke notebooks are run and the book is built from a clean state, strictly, under build/test.
notebooks: $(DEV)
	rm -rf build/test/_build
	$(TEST) $(ROBUSTNB) book --profile smoke $(WORDS)

unit: notebooks
	$(TEST) $(PYTEST) -n 2 --dist loadfile $(TIMES)/unit.xml tests
	$(TEST) $(PYTEST) $(TIMES)/doctests.xml --doctest-modules robustnb

# Every notebook is run once more, and its outputs compared with the page's. That pytest runs the
# sources as they are, which is another way to the same cells, the first of them shows.
nbval: notebooks
	$(ISOLATED) $(TEST) $(PYTEST) $(NBVAL) $(TIMES)/nbval-lax.xml --nbval-lax $(firstword $(sort $(wildcard notebooks/*.md)))
	$(ISOLATED) $(TEST) ROBUSTNB_FRESH=1 $(PYTEST) -n 2 --dist loadfile $(NBVAL) $(TIMES)/nbval.xml -p notebooks.conftest --nbval build/test/stage/book/papers/*.ipynb

readme: $(BOOK)
	$(ROBUSTNB) readme

picture: $(BOOK)
	$(ROBUSTNB) picture carmon2019 --figure 1

hero: $(BOOK)
	$(ROBUSTNB) hero

benchmarks: $(DEV)
	$(BIN)/python benchmarks/trades.py
	$(BIN)/python benchmarks/skip_gradient.py
	$(BIN)/python benchmarks/free_training.py
	$(BIN)/python benchmarks/service.py
	$(BIN)/python benchmarks/book.py

# Other libraries' attacks, in an environment of their own that sees the book's.
$(PEERS)/.installed: tests/differential/requirements.txt $(DEV)
	$(BIN)/python -m venv $(PEERS)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > "$$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/book.pth"
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/differential/requirements.txt
	@touch $@

peers: $(PEERS)/.installed

differential: $(PEERS)/.installed
	$(TEST) $(PEERS)/bin/python -m pytest tests/differential

clean:
	rm -rf build _build book/papers
