# make study        the whole exploration on the embedded model, into out/study/
# make test         every test, in .venv (TransformerLens 3.9.0 with SAELens)
# make check        style, types, layers, docs, and the wheel in an empty environment
# make calibration  how often each statistical test says "shown" where nothing is (minutes)
# make verified     on which versions each architecture was verified, by running the tests that show it
# make fixes-pages  patches/README.md and docs/known-fixes.md anew, from rows, docstrings and patch headers
# make test-tl4     the tests in .venv-tl4 (TransformerLens 4.3.0, no SAELens)
#
# TORCH_INDEX=URL adds a package index, for another build of torch.

PYTHON ?= python3.11
TORCH_INDEX ?=
JOBS ?= 2
PYTEST_ARGS ?=
DRAWS ?= 2000

BIN := .venv/bin
INSTALL := PYTHON=$(PYTHON) TORCH_INDEX=$(TORCH_INDEX) tools/environment
# One thread a process: several of them share the machine.
export OMP_NUM_THREADS ?= 1
# Threads that wait by spinning take the cores from those that work.
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_OFFLINE ?= 1

.PHONY: study test verified fixes-pages calibration check lint types layers docs wheel test-tl4 smoke-tl4-sae setup pins clean

# A study has the machine to itself.
study: export OMP_NUM_THREADS := $(shell nproc)
study: .venv/.ready
	$(BIN)/tl-ext study --out out/study

test: .venv/.ready
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

# TL_EXT_SHARED=FOLDER has the golden files.
verified: .venv/.ready .venv-tl4/.ready
	$(BIN)/python -m tests.verified
	.venv-tl4/bin/python -m tests.verified

fixes-pages: .venv/.ready
	$(BIN)/python -m tl_ext.fixes.describing

calibration: .venv/.ready
	$(BIN)/python -m tests.planted.calibration --draws $(DRAWS)

check: lint types layers docs wheel

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

layers: .venv/.ready
	$(BIN)/lint-imports

docs: .venv/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

wheel: .venv/.ready
	rm -rf build/dist
	$(BIN)/python -m build --no-isolation --outdir build/dist . >/dev/null
	$(INSTALL) --fresh build/venv-wheel constraints/tl3.txt --only build/dist/*.whl
	cd build && env -u PYTHONPATH venv-wheel/bin/python -I ../tests/wheel/smoke.py

# What runs no upstream code is tested once, in the first environment; nor do runs that are broken off and
# taken up again depend on the release.
WITHOUT_UPSTREAM := analysis arena report planted/test_calibration.py study/test_run.py

test-tl4: .venv-tl4/.ready
	.venv-tl4/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not saelens" \
		$(addprefix --ignore=tests/,$(WITHOUT_UPSTREAM)) $(PYTEST_ARGS)

# SAELens beside TransformerLens 4: installed without its own pins, under the fix it needs there.
smoke-tl4-sae: .venv-tl4-sae/.ready
	.venv-tl4-sae/bin/python tests/wheel/smoke.py --beside-saelens

setup: .venv/.ready .venv-tl4/.ready .venv-tl4-sae/.ready

.venv/.ready: constraints/tl3.txt pyproject.toml tools/environment
	$(INSTALL) .venv constraints/tl3.txt --editable .

.venv-tl4/.ready: constraints/tl4.txt pyproject.toml tools/environment
	$(INSTALL) .venv-tl4 constraints/tl4.txt --editable .

.venv-tl4-sae/.ready: constraints/tl4-sae.txt constraints/tl4.txt pyproject.toml tools/environment
	$(INSTALL) .venv-tl4-sae constraints/tl4.txt constraints/tl4-sae.txt \
		--without-deps sae-lens==6.54.12 --editable .

pins: .venv/.ready
	tools/pins $(BIN)/uv

clean:
	rm -rf .venv .venv-tl4 .venv-tl4-sae build dist site out
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
