#!/usr/bin/env bash
# Makes deploy/kubernetes/files: the cluster file, certificates and keys of a new cluster, and the kustomization that
# takes them into a ConfigMap and Secrets.  Run once for a cluster (`make kubernetes-files`); keep the directory where
# no disaster reaches it and the cluster at once: it holds the master key and the CA's key.
#
# Environment: STORAGE_PER_ZONE and the like, as of deploy/local/cluster.sh, which makes the files.
set -euo pipefail
cd "$(dirname "$0")/../.."
files=${CAIRN_FILES:-deploy/kubernetes/files}

CAIRN_VAR=$files HOSTS='{}.cairn' deploy/local/cluster.sh files
{
    echo "generatorOptions: {disableNameSuffixHash: true}"
    echo "configMapGenerator:"
    echo "  - {name: cairn, files: [conf/cluster.yaml]}"
    echo "secretGenerator:"
    echo "  - {name: cairn-root, files: [root-credentials]}"
    echo "  - {name: cairn-master-key, files: [master-key]}"
    echo "  - name: cairn-pki"
    echo "    files:"
    echo "      - pki/ca.crt"
    for file in "$files"/pki/z*.crt "$files"/pki/z*.key; do echo "      - pki/${file##*/}"; done
} >"$files/kustomization.yaml"
