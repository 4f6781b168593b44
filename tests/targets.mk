# The test layers.  The C layers run in VARIANT=test by recursion, so that plain `make unit` works.
.PHONY: test-deps unit unit-run spec test

VENV := .venv
$(VENV)/.ready: tests/requirements.txt
	@echo "installing the tests' Python packages into $(VENV)"
	@python3 -m venv $(VENV) && $(VENV)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@
test-deps: deps
	@deploy/deps.sh tests/packages.txt
	@$(MAKE) --no-print-directory $(VENV)/.ready

unit: deps
	@$(MAKE) --no-print-directory VARIANT=test unit-run
unit-run: $(call tests_in,unit) $(call tests_in,golden)
	@for t in $(call tests_in,unit) $(call tests_in,golden); do echo "== $$t"; $$t || exit 1; done

spec: test-deps
	@spec/check.sh

test: unit

# The simulator is one program of the sim variant.
SIM_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c))
SIM_LIBS := $(foreach d,common/base common/env common/op common/rpc common/config common/obs common/crypto \
            metanode/raft metanode/index metanode/visible metanode/op metanode/io \
            witness/core witness/op gateway/cache gateway/meta,$(if $(filter $(d),$(LIB_DIRS)),$(call lib,$(d))))
$(B)/bin/cairn-sim: $(SIM_OBJS) $(SIM_LIBS) $(PROTO_LIB)
	$(link)
.PHONY: sim
SEEDS ?= 1000
sim: deps
	@$(MAKE) --no-print-directory VARIANT=sim build/sim/bin/cairn-sim
	@build/sim/bin/cairn-sim --seeds=$(SEEDS)

# Real processes: end to end with real clients, and chaos.
$(B)/bin/cairn-check-history: $(B)/tests/chaos/check_history.o $(B)/tests/sim/history.o $(call lib,common/base)
	$(link)
.PHONY: e2e chaos real-deps
real-deps: all test-deps
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-check-history
e2e: real-deps
	@$(VENV)/bin/pytest -q -p no:cacheprovider --tb=short tests/e2e
chaos: real-deps
	@$(VENV)/bin/pytest -q -p no:cacheprovider --tb=short tests/chaos

# The load generator.
$(B)/bin/cairn-bench: $(B)/tests/bench/bench.o $(call lib,common/base) $(call lib,common/crypto)
	$(link)
