# Lastgood. `make demo` plays the whole story; `make up` starts the product with an empty database.
# `make test` runs linters and tests; `make test-browser` those that drive a Chromium; `make test-faults` kills
# processes for real; `make test-verdicts` lets models go wrong and asks the diagnosis;
# `make test-engines` installs Triton, MLServer and TorchServe beside and tests their drivers on them.
#
# PYTHON=python3.11   which Python makes .venv
# TORCH="..."         what pip shall install as torch, such as a CPU build; without it a torch in .venv is kept
# ONCE=1 FAULT=scale  for demo: play it without waiting for anybody; which fault (recode, scale, slow)
# TRY=lie,kill,tamper for demo: then break it on purpose, in these ways, and see each found
# ONLY=name           for bench: one of the files in bench/
# ARGS="-k name"      for the tests: further arguments of pytest

PYTHON ?= python3
PY := .venv/bin/python
export TORCH ONCE FAULT TRY

# A tenth of what the tests cost is reading the same source again in every process that they start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up test test-browser test-faults test-verdicts test-engines lint bench venv venv-test clean

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

venv:
	@$(PYTHON) config/install.py

venv-test:
	@$(PYTHON) config/install.py --test

demo: venv
	@$(PY) -m demo

up: venv
	@$(PY) manage.py up

# Three at a time on two cores: one of them mostly waits.
test: lint
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not faults and not engines and not browser and not verdicts" $(ARGS)

test-browser: venv-test
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m browser $(ARGS)

test-faults: venv-test
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m faults $(ARGS)

# One after the other: a machine that is busy with other tests makes hosts slow, and that is what is measured.
test-verdicts: venv-test
	$(PY) -m pytest -m verdicts $(ARGS)

test-engines: venv-test
	$(PY) -m pytest -m engines $(ARGS)

lint: venv-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check --quiet .
	.venv/bin/lint-imports --no-cache
	$(PY) -m mypy
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py check --fail-level WARNING

bench: venv
	@for file in $(or $(ONLY),$(filter-out __init__ large light_host million report,$(basename $(notdir $(wildcard bench/*.py))))); do \
		$(PY) -m bench.$$file || exit 1; done

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis var/static
