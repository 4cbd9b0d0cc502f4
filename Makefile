# `make run` trains the embedded example; `make test` checks the code and runs the tests.
#
#   make test           what every change must pass
#   make test-services  tests with PyTorch, Ray, Slurm, sshd, network namespaces and, in the folder
#                       DNI_DATA, MNIST and CIFAR-10; a service that is missing is an error
#   make test-all       every test, with all examples of the properties, and checks of times and
#                       of statistics; tests whose service is missing skip
#
# TEST_PROCESSES is the number of processes that run tests.
# PYTHON is the interpreter of the virtual environment; TORCH is the requirement for PyTorch.

PYTHON ?= python3
TORCH ?= torch
TEST_PROCESSES ?= 3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/pytest --numprocesses=$(TEST_PROCESSES) --dist=worksteal

.PHONY: run test test-services test-all clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	$(BIN)/dni run

test: $(VENV)/tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m 'not service and not nightly'

test-services: $(VENV)/services
	$(BIN)/pytest -m service --no-skips

test-all: $(VENV)/tested
	$(PYTEST) --hypothesis-profile=nightly -m 'not nightly'
	$(BIN)/pytest -m nightly

$(VENV)/made: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dni needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/made
	$(PIP_INSTALL) --editable .
	touch $@

$(VENV)/tested: $(VENV)/made
	$(PIP_INSTALL) --editable '.[test]'
	touch $(VENV)/installed $@

$(VENV)/services: $(VENV)/tested
	$(PIP_INSTALL) --editable '.[ray,test,torch]' '$(TORCH)'
	touch $@

clean:
	rm -rf $(VENV)
