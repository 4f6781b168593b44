#!/bin/sh
# What a container of Cairn's image runs.
#
#   gateway|metanode|storagenode|witness [--NAME=VALUE ...]   one node of a cluster
#   found       makes what a cluster is founded with in /etc/cairn, unless it is there (HOSTS as in cluster.sh)
#   cairnctl ... | any other program
#
# A node's parameters come from where they always do (docs/parameters.md).  What is set here is only where a
# container's files and ports are, and of that only what the environment does not say:
#   node_id: the host's name; zone: what stands before the first "-" of it
#   /etc/cairn/cluster.yaml, /etc/cairn/root-credentials, /etc/cairn/master-key (both need not be there)
#   /etc/cairn/pki/ca.crt, and node.crt and node.key beside it, or NODE_ID.crt and NODE_ID.key
#   data in /var/lib/cairn; ports 7000 (RPC), 8000 (admin), 9000 (S3); the log to standard error
set -eu
etc=${CAIRN_ETC:-/etc/cairn}

# Made aside, then moved: one that was interrupted is begun anew or gone on with, never taken for whole.  What tells
# that a cluster is founded, cluster.yaml, comes last.
found() {
    if [ -f "$etc/cluster.yaml" ]; then
        echo "a cluster is founded in $etc already"
        return
    fi
    mkdir -p "$etc"
    if [ ! -d "$etc/.founded" ]; then
        rm -rf "$etc/.founding"
        CAIRN_VAR=$etc/.founding "${CAIRN_SHARE:-/usr/local/share/cairn}/deploy/local/cluster.sh" files >/dev/null
        cp "$etc/.founding/conf/cluster.yaml" "$etc/.founding/cluster.yaml"
        sync
        mv "$etc/.founding" "$etc/.founded"
    fi
    for name in pki conf topology cluster-id root-credentials master-key cluster.yaml; do
        [ -e "$etc/.founded/$name" ] || continue
        if [ -e "$etc/$name" ]; then
            echo "error: $etc/$name is there, and is of no cluster that was founded here" >&2
            exit 1
        fi
        mv "$etc/.founded/$name" "$etc/$name"
    done
    rmdir "$etc/.founded"
    echo "a cluster is founded in $etc: cluster.yaml, pki, root-credentials, master-key"
}

node() {
    role=$1
    shift
    : "${CAIRN_NODE_ID:=$(hostname)}"
    : "${CAIRN_ZONE:=${CAIRN_NODE_ID%%-*}}"
    cert=$etc/pki/node
    [ -f "$cert.crt" ] || cert=$etc/pki/$CAIRN_NODE_ID
    : "${CAIRN_CLUSTER_FILE:=$etc/cluster.yaml}"
    : "${CAIRN_TLS_CA:=$etc/pki/ca.crt}"
    : "${CAIRN_TLS_CERT:=$cert.crt}"
    : "${CAIRN_TLS_KEY:=$cert.key}"
    : "${CAIRN_DATA_DIR:=/var/lib/cairn}"
    : "${CAIRN_LISTEN:=0.0.0.0:7000}"
    : "${CAIRN_ADMIN_LISTEN:=0.0.0.0:8000}"
    export CAIRN_NODE_ID CAIRN_ZONE CAIRN_CLUSTER_FILE CAIRN_TLS_CA CAIRN_TLS_CERT CAIRN_TLS_KEY CAIRN_DATA_DIR \
        CAIRN_LISTEN CAIRN_ADMIN_LISTEN
    case $role in
    gateway)
        export CAIRN_HTTP_LISTEN="${CAIRN_HTTP_LISTEN:-0.0.0.0:9000}"
        if [ -z "${CAIRN_MASTER_KEY:-}${CAIRN_MASTER_KEY_FILE:-}" ] && [ -f "$etc/master-key" ]; then
            export CAIRN_MASTER_KEY_FILE="$etc/master-key"
        fi
        ;;
    metanode)
        if [ -z "${CAIRN_ROOT_CREDENTIALS_FILE:-}" ] && [ -f "$etc/root-credentials" ]; then
            export CAIRN_ROOT_CREDENTIALS_FILE="$etc/root-credentials"
        fi
        ;;
    esac
    exec "cairn-$role" "$@"
}

case ${1:-help} in
gateway | metanode | storagenode | witness) node "$@" ;;
found) found ;;
help) sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p' ;;
*) exec "$@" ;;
esac
