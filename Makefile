# `make run` trains the embedded example; `make test` checks the code and runs the tests.
#
#   make test           what every change must pass
#   make test-services  tests with PyTorch, Ray, Slurm, sshd, network namespaces and, in the folder
#                       DNI_DATA, MNIST and CIFAR-10; a service that is missing is an error
#   make test-all       every test; those whose service is missing skip
#
# PYTHON is the interpreter of the virtual environment; TORCH is the requirement for PyTorch.

PYTHON ?= python3
TORCH ?= torch
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-services test-all clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	$(BIN)/dni run

test: $(VENV)/tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m 'not service'

test-services: $(VENV)/services
	$(BIN)/pytest -m service --no-skips

test-all: $(VENV)/tested
	$(BIN)/pytest

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dni needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/services: $(VENV)/tested
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[ray,test,torch]' '$(TORCH)'
	touch $@

clean:
	rm -rf $(VENV)
