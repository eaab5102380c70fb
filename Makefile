# Thin on purpose: scripts/bootstrap.py sets up the checkout, the tools do the work.

VENV := .venv/bin
JOBS ?= auto
AS_ROOT := $(shell test "$$(id -u)" = 0 || echo sudo -n) env DEBIAN_FRONTEND=noninteractive

# The one thing that Python can't set up itself is Python.
define set-up
@command -v python3 >/dev/null \
	|| { echo "set-up: installing Python" && $(AS_ROOT) apt-get update -qq >/dev/null \
		&& $(AS_ROOT) apt-get install -qq -y --no-install-recommends python3 python3-venv >/dev/null; } \
	|| { echo "set-up: install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)" >&2; exit 2; }
@python3 scripts/bootstrap.py $(1)
endef

.PHONY: demo test lint bench records
.NOTPARALLEL:

demo:
	$(call set-up,demo)
	@$(VENV)/utvm demo

test:
	$(call set-up,test)
	@$(VENV)/python -m pytest -n $(JOBS)

lint:
	$(call set-up,lint)
	$(VENV)/ruff format --check src tests examples scripts benchmarks
	$(VENV)/ruff check src tests examples scripts benchmarks
	$(VENV)/mypy
	$(VENV)/lint-imports

bench:
	$(call set-up,bench)
	@$(VENV)/utvm bench talk --board qemu-cortex-m7
	@$(VENV)/utvm bench layers --board qemu-cortex-m7

# MODELS: further models whose workloads the records should hold, as MODELS="a.tflite b.tflite".
records:
	$(call set-up,test)
	@$(VENV)/python scripts/ship_records.py --db build/records.sqlite examples/cifar10/cifar10_cnn.tflite $(MODELS)
