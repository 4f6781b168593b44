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
