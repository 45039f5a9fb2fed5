# Every target makes the virtual environment first when it is missing; nothing else needs to be typed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test check bench evidence clean

run: .venv/ready
	exec $(BIN)/multipaxos cluster

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST)

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/multipaxos bench

.venv: .venv/ready

# The stamp is written last, so an installation that was interrupted is done again.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch .venv/ready

# The long campaigns: resumable, and added up over runs of the same src/.
evidence: .venv/ready
	tests/evidence.sh $(SEEDS)

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
