# The test layers.  The C layers run in VARIANT=test by recursion, so that plain `make unit` works.
.PHONY: unit unit-run
unit: deps
	@$(MAKE) --no-print-directory VARIANT=test unit-run
unit-run: $(call tests_in,unit) $(call tests_in,golden)
	@for t in $(call tests_in,unit) $(call tests_in,golden); do echo "== $$t"; $$t || exit 1; done

.PHONY: test
test: unit
