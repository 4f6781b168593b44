# Installing what the build needs, and running a cluster on this machine.
.PHONY: deps
deps:
	@deploy/deps.sh deploy/packages.txt
