# Thin on purpose: scripts/bootstrap.py sets up the checkout, the tools do the work.

VENV := .venv/bin
JOBS ?= auto
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo -n)

# The one thing that Python can't set up itself is Python.
define set-up
@command -v python3 >/dev/null \
	|| { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends python3 python3-venv; } \
	|| { echo "python3 is missing: install Python 3.11 or newer (on Debian as root: apt-get install python3 python3-venv)" >&2; exit 2; }
@python3 scripts/bootstrap.py $(1)
endef

.PHONY: demo test lint bench
.NOTPARALLEL:

demo:
	$(call set-up,demo)
	@$(VENV)/utvm demo

test:
	$(call set-up,test)
	@$(VENV)/python -m pytest -n $(JOBS)

lint:
	$(call set-up,lint)
	$(VENV)/ruff format --check src tests examples scripts
	$(VENV)/ruff check src tests examples scripts
	$(VENV)/mypy
	$(VENV)/lint-imports

bench:
	$(call set-up,demo)
	@$(VENV)/python scripts/bench.py
