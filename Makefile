# Everything needs only make and a Python; the rest is put into .venv. `make help` lists what there is.
# Written for GNU make 3.81 (macOS) and a plain POSIX shell. PYTHON=/path/to/python chooses an interpreter.

VENV := .venv
BIN := $(VENV)/bin
PYTHON :=
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 python
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes
COMPILE := $(BIN)/python -m uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --quiet

# The locked wheels exist for these versions. A venv whose interpreter has gone is made anew.
VERSIONS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
SAME := import sys; sys.exit(open(sys.argv[1]).read() != open(sys.argv[2]).read())

# Processes the tests run in, side by side: one for each processor, four at most. A chosen few do not wait
# for workers to start, unless WORKERS=2 asks for them.
WORKERS := $(if $(ARGS),0,auto)

.DEFAULT_GOAL := help
.PHONY: help setup run test check lock bench faults screenshots tasks venv dev

help: ## Show this list
	@echo "Discourse Twins"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1	\2/p' Makefile

setup: venv ## Make .venv with everything the product runs on
	@$(call install,main,main)

run: setup ## Start everything on this machine; Ctrl-C stops it
	@exec env PDS_PARENT_PID=$$PPID $(BIN)/python app.py

test: dev ## Run the tests side by side; ARGS="tests/unit -k length" chooses some, WORKERS=0 runs one by one
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 $(ARGS)

check: dev ## Look for mistakes and for untidy code, change nothing
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

lock: dev ## Renew the locked versions and hashes from requirements/*.in
	@$(COMPILE) $(ARGS) requirements/main.in --output-file requirements/main.txt
	@$(COMPILE) $(ARGS) requirements/dev.in --constraint requirements/main.txt --output-file requirements/dev.txt

bench: dev ## Measure what many twins cost; ARGS chooses parts, or others
	@$(BIN)/python -m bench $(ARGS)

faults: dev ## Kill and freeze real stacks and count what is left, and a thousand random histories; ARGS="--small" is a short one
	@$(BIN)/python -m tests.faults $(ARGS)
	$(if $(ARGS),,@TEST_IN_FULL=1 $(BIN)/python -m pytest -q tests/service/test_ledger_always.py \
		tests/service/test_ranks.py tests/service/test_selection_at_size.py \
		tests/unit/test_reply_total.py tests/unit/test_cron_properties.py)

screenshots: dev ## Take the pictures in docs/img anew, and one of every screen; ARGS="--screens-only" is quick
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

tasks: dev ## Do the common tasks in a browser and count clicks and page loads
	@$(BIN)/python -m tests.browser.tasks

dev: venv
	@$(call install,dev,dev main)

venv:
	@$(BIN)/python -c '$(VERSIONS)' 2>/dev/null && exit 0; \
	for candidate in $(or $(PYTHON),$(PYTHONS)); do \
		if "$$candidate" -c '$(VERSIONS)' >/dev/null 2>&1; then \
			echo "Making $(VENV) with $$("$$candidate" --version)."; \
			exec "$$candidate" -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "Discourse Twins needs Python 3.11, 3.12, 3.13 or 3.14 with its venv module, and none was found" \
		"among: $(or $(PYTHON),$(PYTHONS)). Install one (Debian, Ubuntu: apt install python3-venv;" \
		"macOS: brew install python) and try again." >&2; \
	exit 1

# Installs a lock (1) unless the copies kept in .venv (2) show that it was installed before.
define install
$(BIN)/python -c '$(SAME)' requirements/$(1).txt $(VENV)/$(1).lock 2>/dev/null || { \
	echo "Installing what requirements/$(1).txt lists (once; again only when it changes)."; \
	$(PIP) -r requirements/$(1).txt && \
	for name in $(2); do cp requirements/$$name.txt $(VENV)/$$name.lock || exit 1; done; }
endef
