# Cairn's build.  `make help` lists the targets.
#
# One set of rules, three variants of the build, chosen by VARIANT:
#   rel   what runs                      -O2
#   test  unit, golden, model, fuzz      address and undefined-behaviour sanitizers, planted bugs
#   sim   the simulator                  -O2, planted bugs
# Every folder with C files is one library, build/VARIANT/lib/lib<folder with _>.a; a program or test
# names the libraries it links.  A unit test links the library of the folder it mirrors, the base,
# and those named in the LIBS file beside it.

VARIANT ?= rel
CC = gcc
CCACHE := $(shell command -v ccache 2>/dev/null)
B := build/$(VARIANT)
GEN := build/gen

.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:

WARN := -Wall -Wextra -Wconversion -Wshadow -Wformat=2 -Wstrict-prototypes -Werror
CPPFLAGS := -I. -I$(GEN) -D_GNU_SOURCE
CFLAGS := -std=gnu11 -g -pthread -fno-omit-frame-pointer -ffunction-sections -fdata-sections
LDFLAGS := -pthread -Wl,--gc-sections -Wl,--as-needed
# Names for the frames that a crash reports (common/proc/proc_crash.h).
PROGRAM_LDFLAGS := -rdynamic
LDLIBS := -lrocksdb -luv -lprotobuf-c -lssl -lcrypto -lhttp_parser -lexpat -lz -ljansson -lyaml \
          -lisal -lxxhash -lm
ifneq ($(filter x86_64%,$(shell $(CC) -dumpmachine)),)
LDLIBS += -lIPSec_MB
endif

ifeq ($(VARIANT),rel)
CFLAGS += -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong
else ifeq ($(VARIANT),test)
CFLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
CPPFLAGS += -DCAIRN_MUTANTS
LDFLAGS += -fsanitize=address,undefined
else ifeq ($(VARIANT),sim)
CFLAGS += -O2
CPPFLAGS += -DCAIRN_MUTANTS
else ifeq ($(VARIANT),clang)
CC = clang
CFLAGS += -O2
else ifeq ($(VARIANT),fuzz)
CC = clang
CFLAGS += -O1 -fsanitize=address,undefined,fuzzer-no-link
CPPFLAGS += -DCAIRN_MUTANTS
LDFLAGS += -fsanitize=address,undefined,fuzzer
else ifeq ($(VARIANT),tsan)
CFLAGS += -O1 -fsanitize=thread
LDFLAGS += -fsanitize=thread
else
$(error unknown VARIANT '$(VARIANT)': rel, test, sim, clang, fuzz, tsan)
endif

# ---- what there is to build ----
SOURCE_DIRS := $(wildcard common gateway metanode storagenode witness cli)
SOURCES := $(sort $(shell find $(SOURCE_DIRS) -name '*.c'))
MAINS := $(filter %/main.c,$(SOURCES))
LIB_SOURCES := $(filter-out %/main.c,$(SOURCES))
LIB_DIRS := $(sort $(patsubst %/,%,$(dir $(LIB_SOURCES))))
lib = $(B)/lib/lib$(subst /,_,$(1)).a

PROTOS := $(wildcard proto/*.proto)
PROTO_C := $(PROTOS:%.proto=$(GEN)/%.pb-c.c)
PROTO_H := $(PROTOS:%.proto=$(GEN)/%.pb-c.h)
PROTO_OBJS := $(PROTO_C:$(GEN)/%.c=$(B)/gen/%.o) $(patsubst %.c,$(B)/%.o,$(wildcard proto/*.c))
PROTO_LIB := $(B)/lib/libproto.a

libs_under = $(foreach d,$(filter $(1) $(1)/%,$(LIB_DIRS)),$(call lib,$(d)))
COMMON_LIBS = $(call libs_under,common) $(PROTO_LIB)

PROGRAMS := gateway metanode storagenode witness
BINS := $(foreach p,$(PROGRAMS),$(if $(wildcard $(p)/main.c),$(B)/bin/cairn-$(p))) \
        $(if $(wildcard cli/main.c),$(B)/bin/cairnctl)

.PHONY: all bins libs
all: deps
	@$(MAKE) --no-print-directory bins
bins: $(BINS)
libs: $(foreach d,$(LIB_DIRS),$(call lib,$(d))) $(PROTO_LIB)

# ---- rules ----
$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h &: %.proto
	@mkdir -p $(dir $@)
	@protoc-c --proto_path=. --c_out=$(GEN) $<
.SECONDARY:

$(B)/gen/%.o: $(GEN)/%.c | $(PROTO_H)
	@mkdir -p $(dir $@)
	@$(CCACHE) $(CC) $(CPPFLAGS) $(CFLAGS) -w -c -o $@ $<

$(B)/%.o: %.c | $(PROTO_H)
	@mkdir -p $(dir $@)
	@echo "cc $<"
	@$(CCACHE) $(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -MMD -MP -c -o $@ $<

define lib_rule
$(call lib,$(1)): $(patsubst %.c,$(B)/%.o,$(filter $(1)/%,$(foreach s,$(LIB_SOURCES),$(if $(filter $(1)/,$(dir $(s))),$(s)))))
endef
$(foreach d,$(LIB_DIRS),$(eval $(call lib_rule,$(d))))
$(PROTO_LIB): $(PROTO_OBJS)
$(B)/lib/%.a:
	@mkdir -p $(dir $@)
	@rm -f $@.tmp && ar rcs $@.tmp $^ && mv -f $@.tmp $@

link = @mkdir -p $(dir $@); echo "ld $@"; \
       $(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS)

$(B)/bin/cairn-%: LDFLAGS += $(PROGRAM_LDFLAGS)
define program_rule
$(B)/bin/cairn-$(1): $(B)/$(1)/main.o $(call libs_under,$(1)) $(COMMON_LIBS)
	$$(link)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))
# Those that speak HTTP as a client.
$(B)/bin/cairn-gateway $(B)/bin/cairnctl: LDLIBS += -lcurl
# It reads storage nodes' extents, as they do.
$(B)/bin/cairnctl: $(B)/cli/main.o $(call libs_under,cli) $(call lib,storagenode/extent) $(COMMON_LIBS)
	$(link)

# Tests in C: tests/<layer>/<path>/test_x.c -> $(B)/tests/<layer>/<path>/test_x
# Links: library of the mirrored folder, base, env, op, proto, and what <dir>/LIBS names
# (folders, e.g. "metanode/raft common/env_uv"); other .c files of the same folder are linked in.
TEST_SOURCES := $(sort $(shell find tests -name 'test_*.c'))
mirrored = $(filter $(LIB_DIRS),$(patsubst tests/unit/%,%,$(patsubst tests/golden/%,%,$(1))))
test_libs = $(foreach d,$(sort $(call mirrored,$(1)) common/base common/env common/op \
            $(if $(wildcard $(1)/LIBS),$(shell cat $(1)/LIBS))),$(if $(filter $(d),$(LIB_DIRS)),$(call lib,$(d))))
test_helpers = $(patsubst %.c,$(B)/%.o,$(filter-out $(1)/test_%.c,$(wildcard $(1)/*.c)) \
               $(if $(wildcard $(1)/SOURCES),$(shell cat $(1)/SOURCES)))
define test_rule
$(B)/$(basename $(1)): $(B)/$(basename $(1)).o $(call test_helpers,$(patsubst %/,%,$(dir $(1)))) $(call test_libs,$(patsubst %/,%,$(dir $(1)))) $(PROTO_LIB)
	$$(link)
endef
$(foreach t,$(TEST_SOURCES),$(eval $(call test_rule,$(t))))
$(B)/tests/%: LDLIBS += -lcmocka
$(B)/tests/unit/gateway/out/%: LDLIBS += -lcurl

tests_in = $(patsubst %.c,$(B)/%,$(filter tests/$(1)/%,$(TEST_SOURCES)))

# `make print-CFLAGS VARIANT=clang`: what a variable is, for the checks in tests/lint.
print-%:
	@echo '$($*)'

-include $(shell find $(B) -name '*.d' 2>/dev/null)

include deploy/targets.mk
include tests/targets.mk
