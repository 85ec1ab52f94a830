# make run | test | lab for users (README.md), the rest for maintainers (CONTRIBUTING.md says what each is for)
# For Windows, and for anyone without make, docs/install.md gives the same steps as plain commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(wildcard Lab1-CNNs*.ipynb)

.PHONY: run test test-slow test-grading lab figures bench lint book publish release clean

run: $(VENV)/installed
	$(BIN)/python tools/execute.py

test: $(VENV)/installed
	$(BIN)/python -m pytest -x -m "not slow" --nbval --nbval-current-env --nbval-cell-timeout=300 tests $(NOTEBOOKS)

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -x -m slow tests

test-grading: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/grading_*.py

lab: $(VENV)/installed
	$(BIN)/python -m jupyterlab

figures: $(VENV)/installed
	$(BIN)/python tools/execute.py --in-place
	$(BIN)/python tools/readme_tables.py

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)
	$(if $(QUICK),,$(BIN)/python tools/readme_tables.py)

lint: $(VENV)/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

book: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -b html -W --keep-going -c docs . outputs/book
	@echo "open outputs/book/index.html"

publish: $(VENV)/installed
	$(BIN)/python tools/publish.py $(REPOSITORY)

release:
	$(PYTHON) tools/release.py $(if $(WORKED),--with-worked)

clean:
	rm -rf outputs $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# uv installs in half a minute what takes pip a few; without it pip does
define install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || echo "no uv: going on with pip"
	@$(if $(CPU),$(install_cpu),:)
	$(BIN)/python -m uv --version >/dev/null 2>&1 \
	    && $(BIN)/python -m uv pip install --python $(BIN)/python $(1) -c constraints.txt \
	    || $(BIN)/python -m pip install --disable-pip-version-check $(1) -c constraints.txt
	touch $@
endef

# make run CPU=1: PyTorch without CUDA, about 1 GB instead of 6 on Linux
install_cpu = $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --torch-backend cpu torch torchvision \
	    -c constraints.txt 2>/dev/null || echo "PyTorch's CPU build cannot be reached: installing the ordinary build"

$(VENV)/installed: requirements.txt constraints.txt | $(BIN)/python
	$(call install,-r requirements.txt)

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(call install,-r requirements-dev.txt)

$(VENV)/installed-docs: requirements-docs.txt $(VENV)/installed
	$(call install,-r requirements-docs.txt)
