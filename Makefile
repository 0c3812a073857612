# The two commands of the README: `make demo` and `make test`. Everything else is Snakemake's business.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
CORES ?= $(shell nproc)
export TOKENIZERS_PARALLELISM := false

.PHONY: install demo test soak lint clean
.DELETE_ON_ERROR:

install: $(READY)

demo: $(READY)
	@$(VENV)/bin/snakemake --cores $(CORES) demo --resources gpu=1
	@$(VENV)/bin/bbjspec card demo

test: $(READY)
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile tests

# Hours of kill -9; nothing else runs it.
soak: $(READY)
	$(VENV)/bin/python -m tests.reliability.soak

lint: $(READY)
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/snakefmt --check Snakefile rules

# llama.cpp alone of llama-cpp-python is needed, not its image models; pip caches the wheel that it builds.
# The converter to GGUF is in its source archive alone, which pip has just had.
$(READY): requirements.lock pyproject.toml bbjspec/stages/converter.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bbjspec needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 3; }
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies; the first time, llama-cpp-python is compiled, which takes about 8 minutes on 2 cores"
	CMAKE_ARGS="-DLLAVA_BUILD=OFF $$CMAKE_ARGS" $(VENV)/bin/python -m pip install --quiet -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --editable .
	$(VENV)/bin/python -m bbjspec.stages.converter
	@touch $@

clean:
	rm -rf build .snakemake
