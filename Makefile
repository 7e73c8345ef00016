# Everything a newcomer needs; `make` alone lists it. Only Python 3.10+ and make must be there.
# Each target installs what it needs once: a stamp file in the environment remembers it.

.DEFAULT_GOAL := help
.PHONY: help demo serve test lint types bench install label-studio clean
.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 demo` overrides it.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python3.10,\
	$(shell $(name) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(name))))

# PyPI's PyTorch for Linux brings CUDA along, several GB: without a driver for it the CPU build will
# do. `make TORCH=cuda demo`, or cpu, decides otherwise.
TORCH ?= $(shell [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null && echo cpu || echo cuda)
CPU_TORCH := https://download.pytorch.org/whl/cpu

VENV := .venv
LABEL_STUDIO_VENV := .venv-label-studio
PIP := -m pip install --quiet --disable-pip-version-check
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
LABEL_STUDIO := $(LABEL_STUDIO_VENV)/.installed
ARGS ?=

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

demo: $(RUNTIME) $(LABEL_STUDIO)  ## Label Studio with a ready project, connected to the backend
	@exec $(VENV)/bin/python -m backend demo $(ARGS)

serve: $(RUNTIME)  ## the backend alone, on 127.0.0.1:9090
	@exec $(VENV)/bin/python -m backend serve $(ARGS)

test: $(DEV) $(LABEL_STUDIO)  ## all tests: unit, contract, Label Studio, browser
	@if [ -z "$(ARGS)" ] && ! command -v chromium >/dev/null \
		&& ! command -v chromium-browser >/dev/null; then \
		echo "The browser tests need Chromium: apt-get install chromium" >&2; exit 1; \
	fi
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(DEV)  ## ruff: rules and format; Dockerfile and compose file
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/hadolint docker/Dockerfile
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml

types: $(DEV)  ## mypy, strict
	$(VENV)/bin/mypy

bench: $(DEV)  ## every benchmark, JSON each; fails at the end if an aim was missed
	@missed=; for bench in brush_rle demo_model prompts "prompts --size 1b" backend_overhead \
			web_process finetune; do \
		$(VENV)/bin/python -m tests.benchmarks.bench_$$bench --check || missed="$$missed [$$bench]"; \
	done; \
	if [ -n "$$missed" ]; then echo "Aims missed:$$missed" >&2; exit 1; fi

install: $(DEV)  ## .venv with the project and its tools

label-studio: $(LABEL_STUDIO)  ## .venv-label-studio with the Label Studio that demo and tests start

clean:  ## remove environments and caches; .demo/ with your demo annotations stays
	rm -rf $(VENV) $(LABEL_STUDIO_VENV) build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis

# PYTHON is evaluated here, not as a prerequisite: an existing environment needs no python3 on PATH.
$(VENV)/bin/python $(LABEL_STUDIO_VENV)/bin/python:
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(NEW_ENOUGH)'; then \
		echo "Python 3.10 or newer is needed; this is $$(python3 --version 2>&1 || true)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi
	@"$(PYTHON)" -m venv $(@D:/bin=) || { \
		rm -rf $(@D:/bin=); \
		echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	}

$(RUNTIME): pyproject.toml docker/constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV): PyTorch takes a few minutes the first time ..."
ifeq ($(TORCH),cpu)
	@$(VENV)/bin/python $(PIP) -c docker/constraints.txt --no-deps --retries 1 --timeout 10 \
		--index-url $(CPU_TORCH) torch \
		|| echo "PyTorch's CPU build is not to be had there: PyPI's build will be installed."
endif
	@$(VENV)/bin/python $(PIP) -c docker/constraints.txt --editable .
	@touch $@

$(DEV): $(RUNTIME)
	@echo "Installing the development tools into $(VENV) ..."
	@$(VENV)/bin/python $(PIP) -c docker/constraints.txt --editable '.[dev]'
	@touch $@

$(LABEL_STUDIO): docker/label-studio-constraints.txt | $(LABEL_STUDIO_VENV)/bin/python
	@echo "Installing Label Studio into $(LABEL_STUDIO_VENV) ..."
	@$(LABEL_STUDIO_VENV)/bin/python $(PIP) -c $< label-studio
	@touch $@
