# `make demo` and `make test` are each sufficient on a fresh machine that has Python 3.11 or later and a C++ compiler.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
# two processes; one that has nothing left takes tests from the other
SPREAD = -n 2 --dist worksteal

.PHONY: demo test test-all test-swift check peers clean

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0" --editable ".[dev]"
	touch $(INSTALLED)

demo: $(INSTALLED)  ## crawl -> pages -> filtered -> deduplicated -> tokenized -> trained -> evaluated -> report
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/demo.sh demo_run

test: $(INSTALLED)  ## the tests, without those marked "all", and each room's line coverage; ROOM=dedup: tests/dedup alone
ifdef ROOM
	$(BIN)/python -m pytest -m "not all and not swift" $(SPREAD) tests/$(ROOM)
else
	$(BIN)/python -m pytest -m "not all and not swift" $(SPREAD) --cov --cov-report=
	$(BIN)/python tools/coverage_by_room.py 90
endif

test-all: $(INSTALLED)  ## every test
	$(BIN)/python -m pytest $(SPREAD)

test-swift: $(INSTALLED)  ## S3 against OpenStack Swift too; needs Debian's swift packages (tests/corpusmith/io/swift_server.py)
	$(BIN)/python -m pytest -m swift tests/corpusmith/io

check: $(INSTALLED)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy corpusmith raw_sources baselines dedup ray_processing training finetuning eval mixing tools tests benchmarks

peers:  ## environments of the programs that benchmarks compare with, under .peers/
	PYTHON=$(PYTHON) bash tools/peers.sh

clean:
	rm -rf demo_run build *.egg-info .cache .pytest_cache .mypy_cache .ruff_cache
