# The test layers.  `make test` builds all that they need and runs them in order with tests/run.py,
# which also has their time budgets; `make unit`, `make sim` and so on run one layer.
# The C layers are built in VARIANT=test, the simulator in VARIANT=sim, by recursion, so that plain
# `make unit` works.

## make test       every test layer, with its time budget; ends with the counts (LAYERS="unit sim": these only)
## make lint       what needs no run: purity, layering, headers, clang, scripts
## make unit|fuzz-corpora|spec|sim|sim-mutants|e2e|chaos    one layer
## make removal    safe-to-remove against every combination of stopped storage nodes
## make model      the storage engine against a reference: SEEDS=100000, or SEEDS=5000..9000
## make fuzz       libFuzzer, FUZZ_SECONDS=60 for each target
## make bench      how fast, next to nginx and the disk; bench-ec, bench-repair and others: tests/README.md
.PHONY: test-deps test test-programs
VENV := .venv
$(VENV)/.ready: tests/requirements.txt
	@echo "installing the tests' Python packages into $(VENV)"
	@python3 -m venv $(VENV) && $(VENV)/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@
test-deps: deps
	@deploy/deps.sh tests/packages.txt
	@$(MAKE) --no-print-directory $(VENV)/.ready

test: test-deps
	@tests/run.py $(LAYERS)

# ---- lint: gcc's libraries are looked into, clang's only have to compile ----
.PHONY: lint format
lint: deps
	@deploy/deps.sh tests/lint/packages.txt
	@$(MAKE) --no-print-directory VARIANT=rel libs
	@$(MAKE) --no-print-directory VARIANT=clang libs
	@tests/lint/lint.py
	@tests/run.py --self-test >build/self-test.log || { cat build/self-test.log; exit 1; }
	@tail -n 1 build/self-test.log
format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

# ---- unit, golden, model ----
.PHONY: unit unit-programs
unit-programs: $(call tests_in,unit) $(call tests_in,golden)
unit: test-deps
	@$(MAKE) --no-print-directory VARIANT=test unit-programs
	@tests/run.py unit

# ---- fuzz: with the corpora and their mutations in VARIANT=test, with libFuzzer in VARIANT=fuzz ----
FUZZ_SOURCES := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_PROGRAMS := $(patsubst %.c,$(B)/%,$(FUZZ_SOURCES))
FUZZ_LIBS := $(foreach d,common/base common/env common/op common/crypto common/config common/rpc common/obs \
             common/env_uv common/proc gateway/http gateway/crypt gateway/iam gateway/policy gateway/s3 metanode/index metanode/visible metanode/raft \
             metanode/io metanode/placement metanode/op storagenode/extent,$(if $(filter $(d),$(LIB_DIRS)),$(call lib,$(d))))
FUZZ_MAIN := $(if $(filter fuzz,$(VARIANT)),,$(B)/tests/fuzz/replay.o)
$(FUZZ_PROGRAMS): %: %.o $(FUZZ_MAIN) $(FUZZ_LIBS) $(PROTO_LIB)
	$(link)
.PHONY: fuzz-programs fuzz-corpora fuzz-corpora-run fuzz
fuzz-programs: $(FUZZ_PROGRAMS)
FUZZ_MUTATIONS ?= 1000
fuzz-corpora: deps
	@$(MAKE) --no-print-directory VARIANT=test fuzz-programs
	@$(MAKE) --no-print-directory fuzz-corpora-run
fuzz-corpora-run:
	@printf '%s\n' $(FUZZ_SOURCES:tests/fuzz/%.c=%) | xargs -P $$(nproc) -I{} sh -c 't={}; \
	    build/test/tests/fuzz/$$t --mutations=$(FUZZ_MUTATIONS) tests/fuzz/corpus/$${t#fuzz_}'
FUZZ_SECONDS ?= 60
fuzz: deps
	@deploy/deps.sh tests/packages-fuzz.txt
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzz-programs
	@set -e; for t in $(FUZZ_SOURCES:tests/fuzz/%.c=%); do \
	    mkdir -p build/fuzz-corpus/$$t build/fuzz-found; \
	    echo "== $$t, $(FUZZ_SECONDS) s"; \
	    build/fuzz/tests/fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
	        -artifact_prefix=build/fuzz-found/$$t- build/fuzz-corpus/$$t tests/fuzz/corpus/$${t#fuzz_} \
	        2>build/fuzz-found/$$t.log || { tail -n 40 build/fuzz-found/$$t.log; exit 1; }; \
	    grep -E 'cov:|number_of_executed' build/fuzz-found/$$t.log | tail -n 2; \
	done

# ---- the model of the witness ----
.PHONY: spec
spec: test-deps
	@spec/check.sh

# ---- the simulator: one program of the sim variant ----
SIM_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/sim/*.c))
SIM_LIBS := $(foreach d,common/base common/ec common/env common/op common/rpc common/config common/obs common/crypto \
            metanode/raft metanode/index metanode/visible metanode/placement metanode/op metanode/io \
            witness/core witness/op gateway/cache gateway/meta gateway/blob gateway/op gateway/work gateway/operator gateway/out gateway/admin gateway/crypt gateway/policy gateway/iam gateway/s3 gateway/http \
            storagenode/extent storagenode/op storagenode/orphans/core storagenode/orphans storagenode/repair/core storagenode/repair storagenode/io,$(if $(filter $(d),$(LIB_DIRS)),$(call lib,$(d))))
$(B)/bin/cairn-sim: $(SIM_OBJS) $(SIM_LIBS) $(PROTO_LIB)
	$(link)
.PHONY: sim sim-program sim-run
SEEDS ?= 1000
sim: deps sim-program
	@build/sim/bin/cairn-sim --seeds=$(SEEDS)
sim-program:
	@$(MAKE) --no-print-directory VARIANT=sim build/sim/bin/cairn-sim
sim-run:
	@build/sim/bin/cairn-sim --seeds=$(SEEDS)
	@build/sim/bin/cairn-sim --repeat --seeds=5

# Planted bugs that the simulator must find, each within its number of seeds.
.PHONY: sim-mutants sim-mutants-run
sim-mutants: deps sim-program sim-mutants-run
sim-mutants-run:
	@build/sim/bin/cairn-sim --all-mutants=tests/sim/mutants.txt

# ---- the model: the disks of a storage node against a reference map, in the sim variant ----
MODEL_OBJS := $(patsubst %.c,$(B)/%.o,$(wildcard tests/model/*.c))
$(B)/bin/cairn-model: $(MODEL_OBJS) $(foreach d,common/base common/env common/op storagenode/extent storagenode/op,$(call lib,$(d)))
	$(link)
MODEL_FLAGS ?= --coverage=tests/model/coverage.txt
.PHONY: model model-program model-run
model: deps model-program
	@build/sim/bin/cairn-model --progress --seeds=$(SEEDS) $(MODEL_FLAGS)
model-program:
	@$(MAKE) --no-print-directory VARIANT=sim build/sim/bin/cairn-model
model-run:
	@build/sim/bin/cairn-model --seeds=10000 $(MODEL_FLAGS)
	@build/sim/bin/cairn-model --all-mutants=tests/model/mutants.txt

# ---- real processes: end to end with real clients, and chaos ----
$(B)/bin/cairn-check-history: $(B)/tests/chaos/check_history.o $(B)/tests/sim/history.o $(call lib,common/base)
	$(link)
.PHONY: e2e chaos real-deps
real-deps: all test-deps
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-check-history
e2e chaos: real-deps
	@tests/run.py $@

# safe-to-remove, with every combination of six storage nodes stopped: two minutes more than `make test` has for it.
.PHONY: removal
removal: real-deps
	@tests/chaos/run.sh $(VENV)/bin/pytest -q tests/chaos/removal.py

# ---- the load generator ----
$(B)/bin/cairn-bench: $(B)/tests/bench/bench.o $(call lib,common/base) $(call lib,common/crypto)
	$(link)
# Coding of segments next to the coding library alone: `make bench-ec`.
$(B)/bin/cairn-bench-ec: $(B)/tests/bench/ec.o $(call lib,gateway/blob) $(call lib,common/ec) $(call lib,common/base)
	$(link)
.PHONY: bench-ec
bench-ec: deps
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-bench-ec
	@build/rel/bin/cairn-bench-ec $(BENCH_FLAGS)

# All that the layers run, each in its variant.
test-programs:
	@$(MAKE) --no-print-directory VARIANT=rel bins build/rel/bin/cairn-check-history build/rel/bin/cairn-bench
	@$(MAKE) --no-print-directory VARIANT=sim build/sim/bin/cairn-sim build/sim/bin/cairn-model
	@$(MAKE) --no-print-directory VARIANT=test unit-programs fuzz-programs

# Not part of `make test`: it needs a quiet machine, and measures rather than judges.
.PHONY: bench
bench: all
	@deploy/deps.sh tests/bench/packages.txt
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-bench
	@python3 tests/bench/run.py $(BENCH_FLAGS)
# Coded data and repair: PUT and GET next to replicas and intact data, repair next to the disk.
.PHONY: bench-repair
bench-repair: all
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-bench
	@python3 tests/bench/repair.py $(BENCH_FLAGS)
# Lists of a bucket with a million keys: first pages against last ones, a million keys below one common prefix.
.PHONY: bench-list
bench-list: all
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-bench
	@python3 tests/bench/list.py $(BENCH_FLAGS)
# Encrypted data next to plain ones.
.PHONY: bench-encryption
bench-encryption: all
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-bench
	@python3 tests/bench/encryption.py $(BENCH_FLAGS)
# This tree next to an earlier revision: `make bench-compare BEFORE=REVISION`.
.PHONY: bench-compare
bench-compare: all
	@deploy/deps.sh tests/bench/packages.txt
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-bench
	@python3 tests/bench/compare.py $(BEFORE) $(BENCH_FLAGS)
# What a small GET and PUT ask of a gateway, counted: the same on a busy machine.
.PHONY: bench-count
bench-count: all
	@deploy/deps.sh tests/bench/count-packages.txt
	@$(MAKE) --no-print-directory VARIANT=rel build/rel/bin/cairn-bench
	@python3 tests/bench/count.py $(BENCH_FLAGS)
