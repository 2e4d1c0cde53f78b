PYTHON ?= python3.11
BIN := .venv/bin
# A lock names every package, so nothing is left for a resolver to decide (or to drag in).
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-deps

.PHONY: setup test check demo faults lock images test-images clean

setup: .venv/.done .venv-monitor/.done

.venv/.done: requirements/dev.txt requirements/demo.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) -r requirements/dev.txt
	$(BIN)/python $(PIP_INSTALL) --no-build-isolation --editable .
	$(BIN)/python -m pip check
	$(BIN)/python -m pip download --quiet --no-deps --dest .demo/wheels -r requirements/demo.txt
	touch $@

.venv-monitor/.done: requirements/monitor.txt
	$(PYTHON) -m venv .venv-monitor
	.venv-monitor/bin/python $(PIP_INSTALL) -r requirements/monitor.txt
	.venv-monitor/bin/python -m pip check
	touch $@

# Two processes, each with whole files: many tests wait for processes of their own. In the order of
# the folders, whole runs come before unit tests, and nobody waits for one long file at the end.
# One thread each: two that spin for each other's turn cost both their core.
test: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: setup
	$(BIN)/python examples/demo.py

# Faults of a release, in a simulated place and against real server processes: minutes.
faults: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults

# Locks without addresses; a CPU lock must never name a CUDA package.
lock:
	$(BIN)/python requirements/lock.py

# ROLES="cpu serving", TAG and BASE choose; images/build.sh says more.
images:
	images/build.sh $(ROLES)

# Needs podman, and mmdebstrap where the base image is not here yet. Skips, with the reason, where
# containers cannot run.
test-images: setup
	$(BIN)/python -m pytest tests/images

clean:
	rm -rf .venv .venv-monitor .demo runs
