# Installing what the build needs, running a cluster on this machine (deploy/local/cluster.sh), and what clusters
# elsewhere need (deploy/README.md).
.PHONY: deps run up down status wipe image kubernetes-files help
deps:
	@deploy/deps.sh deploy/packages.txt

run: all
	@exec deploy/local/cluster.sh run

up: all
	@deploy/local/cluster.sh up

down:
	@deploy/local/cluster.sh down

status:
	@deploy/local/cluster.sh status

wipe:
	@deploy/local/cluster.sh wipe

image:
	docker build -t cairn -f deploy/docker/Dockerfile .

kubernetes-files:
	@deploy/kubernetes/found.sh

help:
	@sed -n 's/^## //p' Makefile deploy/targets.mk tests/targets.mk

## make            build everything (installs what is missing with apt)
## make run        a three-zone cluster on this machine, in the foreground; Ctrl-C stops it
## make up|down    the same in the background; make status, make wipe
##                 a larger one, where none is yet: STORAGE_PER_ZONE=2 make up, and the like
## make image      a container image
## make kubernetes-files    what a cluster on Kubernetes is founded with; Compose and Kubernetes: deploy/README.md
