# make mini, make test: the two commands of the README. Both make .venv first, where it is missing or out of date.

PYTHON ?= python3
ARGS ?=
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help mini test chaos cluster lint clean

# Debian keeps ensurepip in a package of its own, python3-venv, which only root can install. Its pip comes from another.
define VENV_WITHOUT_ENSUREPIP
	command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null || \
	  { echo "$(PYTHON) cannot make a virtual environment: it lacks the modules venv and ensurepip" >&2; exit 1; }; \
	"$(PYTHON)" -m venv --without-pip $$clear .venv; mkdir -p .venv/debs; \
	(cd .venv/debs; fetch="apt-get download -qq python3-pip-whl"; \
	  $$fetch || { [ "$$(id -u)" = 0 ] && apt-get update -qq && $$fetch; }; dpkg-deb -x python3-pip-whl_*.deb .) || \
	  { echo "cannot fetch pip; as root: apt-get update, or apt-get install python3-venv" >&2; exit 1; }; \
	.venv/bin/python3 "$$(echo .venv/debs/usr/share/python-wheels/pip-*.whl)/pip" install -q pip; rm -r .venv/debs
endef

help:
	@echo 'usage: make TARGET [PYTHON=/path/to/python3] [ARGS="..."]'
	@echo '  make mini    the whole pipeline on the corpus that comes with it; ARGS go to egs/mini/run.sh'
	@echo '  make test    the tests; ARGS go to pytest'
	@echo '  make chaos   the recipe under fire: kills, full disks, damaged files; ARGS go to pytest, --kills N among them'
	@echo '  make cluster the tests that need Slurm and Grid Engine, which it starts (root, Debian) and stops; ARGS go to pytest'
	@echo '  make lint    ruff and shellcheck'
	@echo '  make clean   removes .venv and what make mini made'

mini: .venv/.installed
	@egs/mini/run.sh $(ARGS)

test: .venv/.installed
	@. ./path.sh && python3 -m pytest $(ARGS)

chaos: .venv/.installed
	@. ./path.sh && python3 -m pytest tests/chaos/*.py $(ARGS)

cluster: .venv/.installed
	@. ./path.sh && trap 'tests/cluster/slurm.sh stop; tests/cluster/gridengine.sh stop' EXIT; \
	tests/cluster/slurm.sh start && tests/cluster/gridengine.sh start && python3 -m pytest tests/test_cluster.py $(ARGS)

lint: .venv/.installed
	@. ./path.sh && ruff check .
	@. ./path.sh && { git ls-files -co --exclude-standard '*.sh'; \
	  git ls-files -co --exclude-standard -z | xargs -0 grep -lsE -m 1 '^#!.*\bbash$$'; } | sort -u | \
	  xargs -d '\n' shellcheck -s bash -x -P SCRIPTDIR -P .

clean:
	rm -rf .venv egs/mini/work

# The stamp goes before an update begins, so that an install cut short leaves none, and the next one begins anew.
.venv/.installed: pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || \
	  { echo "$(PYTHON): not found; Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; give a newer one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@if [ -e $@ ]; then rm $@; clear=; else clear=--clear; fi; \
	if "$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null; then "$(PYTHON)" -m venv $$clear .venv; \
	else $(VENV_WITHOUT_ENSUREPIP); fi
	.venv/bin/pip install -c constraints.txt -e ".[dev]"
	@touch $@
