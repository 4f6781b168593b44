#!/usr/bin/env bash
# A whole Cairn cluster on this machine: three zones of gateway, metanode, storage node and witness,
# as real processes on loopback.  The same programs, protocols and checks as on many machines.
#
#   cluster.sh run      start, wait until it serves, stay in the foreground until Ctrl-C
#   cluster.sh up       the same in the background        cluster.sh down     stop it (drains)
#   cluster.sh status   what runs, and whether it is ready
#   cluster.sh wipe     stop and delete all its data
#   cluster.sh start NODE | stop NODE | kill NODE    one process, by its node id
#   cluster.sh files    only what a cluster elsewhere is founded with (deploy/README.md): certificates,
#                       cluster file, root user's keys, master key
#
# Environment: CAIRN_VAR (data, default ./var), CAIRN_BIN (programs, default ./build/rel/bin),
# ZONES (3), GATEWAYS_PER_ZONE, METANODES_PER_ZONE, STORAGE_PER_ZONE, WITNESSES_PER_ZONE (1 each),
# PARTITIONS (4) of the index, SCHEMES (none: by topology; "2+1, rep-3": see docs/operations.md),
# S3_PORT (9000: zone 1's gateway, then 9001, ...), PORT_BASE (7000: internal ports),
# ADDR_PREFIX (none: all on 127.0.0.1; "10.77.": the k-th node of a role in zone z has an address of its
# own, 10.77.z.k plus 0 for a metanode, 20 witness, 40 storage node, 60 gateway), NODE_RUNNER (a command
# under which each process is started, "{}" in it is the node's id: "nsenter --net=DIR/{}"),
# HOSTS (of `files`: each node is a host of its own, with this name, "{}" in it is the node's id, and the
# internal ports are PORT_BASE and PORT_BASE + 1000 everywhere: "{}.cairn"),
# AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (the root user's keys of a new cluster; else made up),
# MASTER_KEY_FILE (master keys of encryption, see docs/operations.md; else $CAIRN_VAR/master-key, made up for a
# new cluster; "none": no encryption),
# CAIRN_EXTRA (a YAML fragment appended to every process's configuration), CAIRN_CLUSTER_EXTRA (the same
# for the cluster file), READY_TIMEOUT (60: seconds in which all must be ready).
set -euo pipefail
cd "$(dirname "$0")/../.."

VAR=$(realpath -m "${CAIRN_VAR:-var}")
BIN=${CAIRN_BIN:-build/rel/bin}

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# A cluster that exists keeps its shape: what the environment does not name comes from there.
declare -A KEPT=()
if [ -f "$VAR/topology" ]; then
    for word in $(cat "$VAR/topology"); do KEPT[${word%%=*}]=${word#*=}; done
fi
setting() { # name, default, least, most
    local own=${!1:-}
    printf -v "$1" %s "${own:-${KEPT[$1]:-$2}}"
    [[ ${!1} =~ ^[0-9]{1,5}$ ]] && ((10#${!1} >= $3 && 10#${!1} <= $4)) ||
        die "$1=${!1}: must be a number from $3 to $4"
}
setting ZONES 3 1 9
setting GATEWAYS_PER_ZONE 1 1 19
setting METANODES_PER_ZONE 1 1 19
setting STORAGE_PER_ZONE 1 1 19
setting WITNESSES_PER_ZONE 1 1 19
setting PARTITIONS 4 1 1000
setting S3_PORT 9000 1 65000
setting PORT_BASE 7000 1 63000
ADDR_PREFIX=${ADDR_PREFIX:-${KEPT[ADDR_PREFIX]:-}}
[[ $ADDR_PREFIX =~ ^([0-9]{1,3}\.[0-9]{1,3}\.)?$ ]] ||
    die "ADDR_PREFIX=$ADDR_PREFIX: must be the first two numbers of an IPv4 address, as in 10.77."
HOSTS=${HOSTS:-}
[[ $HOSTS =~ ^([A-Za-z0-9.-]*\{\}[A-Za-z0-9.-]*)?$ ]] || die "HOSTS=$HOSTS: must be a host name with {} in it, as in {}.cairn"
ROLES="metanode witness storagenode gateway"
declare -A COUNT=(
    [gateway]=$GATEWAYS_PER_ZONE [metanode]=$METANODES_PER_ZONE
    [storagenode]=$STORAGE_PER_ZONE [witness]=$WITNESSES_PER_ZONE
)
declare -A ROLE_OFFSET=([metanode]=0 [witness]=20 [storagenode]=40 [gateway]=60)

nodes() { # prints: id zone role port index-in-role address
    local z role k addr
    if [ -n "$HOSTS" ]; then
        for role in $ROLES; do
            for ((z = 1; z <= ZONES; z++)); do
                for ((k = 1; k <= COUNT[$role]; k++)); do
                    addr=z$z-$role-$k
                    echo "$addr z$z $role $PORT_BASE 0 ${HOSTS//"{}"/$addr}"
                done
            done
        done
        return
    fi
    for role in $ROLES; do
        for ((z = 1; z <= ZONES; z++)); do
            for ((k = 1; k <= COUNT[$role]; k++)); do
                addr=127.0.0.1
                [ -z "$ADDR_PREFIX" ] || addr=$ADDR_PREFIX$z.$((ROLE_OFFSET[$role] + k))
                echo "z$z-$role-$k z$z $role $((PORT_BASE + z * 100 + ROLE_OFFSET[$role] + k)) $((z - 1 + (k - 1) * ZONES)) $addr"
            done
        done
    done
}

s3_port() { echo $((S3_PORT + $1)); }

# What a cluster keeps for its life: its nodes, their addresses, its partitions.
SHAPE="ZONES GATEWAYS_PER_ZONE METANODES_PER_ZONE STORAGE_PER_ZONE WITNESSES_PER_ZONE PARTITIONS PORT_BASE ADDR_PREFIX"

check_shape() {
    local name
    for name in $SHAPE; do
        [ "${KEPT[$name]:-${!name}}" = "${!name}" ] ||
            die "$VAR holds a cluster with $name=${KEPT[$name]}, and $name=${!name} was asked for.
Leave $name away, name another directory in CAIRN_VAR, or delete the cluster: make wipe"
    done
}

# ---- certificates: a development CA that never leaves $VAR/pki ----
make_pki() {
    local pki=$VAR/pki id role addr san
    mkdir -p "$pki" && chmod 700 "$pki"
    if [ ! -f "$pki/ca.crt" ]; then
        openssl ecparam -name prime256v1 -genkey -noout -out "$pki/ca.key" 2>/dev/null
        openssl req -x509 -new -key "$pki/ca.key" -sha256 -days 3650 -out "$pki/ca.crt" \
            -subj "/O=Cairn/CN=Cairn development CA" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
        say "made a development CA: $pki/ca.crt"
    fi
    nodes | while read -r id _ role _ _ addr; do
        [ -f "$pki/$id.crt" ] && continue
        openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$id.key" 2>/dev/null
        san=IP:$addr
        [[ $addr =~ ^[0-9.]+$ ]] || san=DNS:$addr
        openssl req -new -key "$pki/$id.key" -subj "/O=Cairn/OU=$role/CN=$id" -out "$pki/$id.csr" 2>/dev/null
        openssl x509 -req -in "$pki/$id.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial \
            -sha256 -days 3650 -out "$pki/$id.crt" \
            -extfile <(printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:localhost,%s' "$san") 2>/dev/null
        rm -f "$pki/$id.csr"
    done
    chmod 600 "$pki"/*.key
}

# ---- the root user's keys: from the environment, else made once ----
make_credentials() {
    local file=$VAR/root-credentials
    local id=${AWS_ACCESS_KEY_ID:-} secret=${AWS_SECRET_ACCESS_KEY:-}
    if [ -f "$file" ]; then
        [ -z "$id" ] || [ -z "$secret" ] || grep -qxF "access_key_id=$id" "$file" ||
            say "note: this cluster was made with other keys than the environment's; they are below and in $file"
        return
    fi
    if [ -n "$id" ] && [ -n "$secret" ]; then
        say "the root user's keys: the environment's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    else
        id=CAIRN$(openssl rand -hex 20 | tr -d '\n' | tr 'a-f' 'A-F' | cut -c1-15)
        secret=$(openssl rand -base64 30 | tr -d '\n' | tr '/+' 'ab')
    fi
    (umask 077; printf 'access_key_id=%s\nsecret_access_key=%s\n' "$id" "$secret" >"$file")
}

# The master key of encryption.  It is made up once: a cluster that has lost it must not go on with another.
make_master_key() {
    local file=$VAR/master-key key
    [ -z "${MASTER_KEY_FILE:-}" ] && [ ! -f "$file" ] && [ ! -f "$VAR/topology" ] || return 0
    key=$(openssl rand -hex 32)
    (umask 077; printf 'local:%s\n' "$key" >"$file")
}

master_key_file() {
    if [ "${MASTER_KEY_FILE:-}" = none ]; then return; fi
    if [ -n "${MASTER_KEY_FILE:-}" ]; then realpath -m "$MASTER_KEY_FILE"; return; fi
    if [ -f "$VAR/master-key" ]; then echo "$VAR/master-key"; fi
}

write_cluster_file() {
    local id zone role port addr name
    mkdir -p "$VAR/conf"
    make_master_key
    for name in $SHAPE S3_PORT; do echo "$name=${!name}"; done >"$VAR/topology"
    [ -f "$VAR/cluster-id" ] || openssl rand -hex 16 >"$VAR/cluster-id"
    {
        echo "cluster_id: $(cat "$VAR/cluster-id")"
        echo "region: us-east-1"
        echo "partitions: $PARTITIONS"
        [ -z "${SCHEMES:-}" ] || echo "schemes: [$SCHEMES]"
        echo "nodes:"
        nodes | while read -r id zone role port _ addr; do
            echo "  - {id: $id, zone: $zone, role: $role, addr: \"$addr:$port\", admin: \"$addr:$((port + 1000))\"}"
        done
        if [ -n "${CAIRN_CLUSTER_EXTRA:-}" ]; then printf '%s\n' "$CAIRN_CLUSTER_EXTRA"; fi
    } >"$VAR/conf/cluster.yaml"
}

write_configs() {
    local id zone role port index addr keys
    mkdir -p "$VAR/run" "$VAR/log" "$VAR/data"
    write_cluster_file
    keys=$(master_key_file)
    nodes | while read -r id zone role port index addr; do
        {
            echo "node_id: $id"
            echo "zone: $zone"
            echo "listen: $addr:$port"
            echo "admin_listen: $addr:$((port + 1000))"
            echo "data_dir: $VAR/data/$id"
            echo "cluster_file: $VAR/conf/cluster.yaml"
            echo "tls_ca: $VAR/pki/ca.crt"
            echo "tls_cert: $VAR/pki/$id.crt"
            echo "tls_key: $VAR/pki/$id.key"
            echo "log_file: $VAR/log/$id.log"
            case $role in
            gateway)
                echo "http_listen: $addr:$(s3_port "$index")"
                echo "base_domains: localhost"
                echo "website_domains: web.localhost"
                echo "sse_require_tls: off" # loopback
                [ -z "$keys" ] || echo "master_key_file: $keys"
                ;;
            metanode) echo "root_credentials_file: $VAR/root-credentials" ;;
            witness)
                # More partitions than the default takes, each with smaller tables: 512 MiB at most.
                ((PARTITIONS < 256)) || printf 'partitions_max: %d\nslot_bits: 16\n' $((PARTITIONS + 1))
                ;;
            esac
            if [ -n "${CAIRN_EXTRA:-}" ]; then printf '%s\n' "$CAIRN_EXTRA"; fi
        } >"$VAR/conf/$id.yaml"
        mkdir -p "$VAR/data/$id"
    done
}

# ---- processes ----
# A process is known by its pid and the time of its start, in the two lines of its file: the pid alone may have been
# given to another since.
start_time() { # pid; sets REPLY to the clock ticks after boot at which it was started, empty when it has ended (proc(5))
    local stat
    REPLY=
    read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
    read -ra stat <<<"${stat##*) }" # from the third word on: the state is the first here
    [[ ${stat[0]} == [ZX] ]] || REPLY=${stat[19]}
}

pid_of() { # prints the pid when the node's process runs
    local file=$VAR/run/$1.pid pid started
    [ -f "$file" ] && { read -r pid && read -r started; } <"$file" && start_time "$pid" && [ "$REPLY" = "$started" ] || return 1
    echo "$pid"
}

role_of() { nodes | awk -v id="$1" '$1 == id { print $3 }'; }

start_node() {
    local id=$1 role pid own comm
    local -a runner
    role=$(role_of "$id")
    [ -n "$role" ] || die "no node '$id' in this cluster; see: $0 status"
    pid_of "$id" >/dev/null && return
    [ -x "$BIN/cairn-$role" ] || die "$BIN/cairn-$role is missing; build it with: make"
    read -ra runner <<<"${NODE_RUNNER:-}"
    setsid "${runner[@]//"{}"/$id}" "$BIN/cairn-$role" --config="$VAR/conf/$id.yaml" </dev/null >>"$VAR/log/$id.out" 2>&1 &
    pid=$!
    disown
    start_time "$pid" || true
    printf '%s\n' "$pid" "$REPLY" >"$VAR/run/$id.pid"
    # Until it runs a program it is a copy of this shell, which may lose a signal.
    read -r own <"/proc/$BASHPID/comm"
    while read -r comm 2>/dev/null <"/proc/$pid/comm" && [ "$comm" = "$own" ]; do sleep 0.01; done
}

signal_node() {
    local pid
    pid=$(pid_of "$1") && kill "-$2" "$pid" 2>/dev/null || true
}

wait_gone() { # seconds, ids...
    local until=$((SECONDS + $1)) id left
    shift
    while :; do
        left=
        for id in "$@"; do pid_of "$id" >/dev/null && left="$left $id"; done
        [ -z "$left" ] && return 0
        [ $SECONDS -ge $until ] && { echo "$left"; return 1; }
        sleep 0.05
    done
}

all_ids() { nodes | cut -d' ' -f1; }

readyz() { curl -s -m 2 -o /dev/null -w '%{http_code}' "http://$1:$(($2 + 1000))/readyz" 2>/dev/null || true; }

INTERRUPTED= # set by a signal while `up` starts processes
STARTED=     # those that it has begun

wait_ready() {
    local deadline=$((SECONDS + ${READY_TIMEOUT:-60})) id port addr waiting
    while :; do
        waiting=
        while read -r id _ _ port _ addr; do
            pid_of "$id" >/dev/null || {
                tail -q -n 3 "$VAR/log/$id.out" "$VAR/log/$id.log" >&2 2>/dev/null || true
                say "error: $id has stopped; its log: $VAR/log/$id.log" >&2
                return 1
            }
            [ "$(readyz "$addr" "$port")" = 200 ] || waiting="$waiting $id"
        done < <(nodes)
        [ -z "$INTERRUPTED" ] || return 1
        [ -z "$waiting" ] && return
        if [ $SECONDS -ge $deadline ]; then
            say "error: not ready in time:$waiting (logs: $VAR/log)" >&2
            return 1
        fi
        sleep 0.1
    done
}

files() {
    [ -n "$HOSTS" ] || die "HOSTS is not set: give the nodes' host names, as in HOSTS={}.cairn"
    [ ! -f "$VAR/topology" ] || die "$VAR holds a cluster already; delete it, or name another directory in CAIRN_VAR"
    mkdir -p "$VAR"
    chmod 700 "$VAR"
    make_pki
    make_credentials
    write_cluster_file
    say "made in $VAR: conf/cluster.yaml, pki/, root-credentials, master-key"
}

# Nothing that a failed `up` has begun stays behind half-way.
stop_started() {
    local status=$?
    trap '' TERM
    if [ -n "$INTERRUPTED" ]; then
        status=130
        say "interrupted; stopping what was started"
    fi
    for id in $STARTED; do signal_node "$id" TERM; done
    # shellcheck disable=SC2086
    wait_gone 15 $STARTED >/dev/null || for id in $STARTED; do signal_node "$id" KILL; done
    exit $status
}

up() {
    local id ids role
    for role in $ROLES; do
        [ -x "$BIN/cairn-$role" ] || die "$BIN/cairn-$role is missing; build it with: make"
    done
    check_shape
    mkdir -p "$VAR"
    chmod 700 "$VAR"
    make_pki
    make_credentials
    write_configs
    ids=$(all_ids)
    # A signal waits until the process that is being started has its pid noted.
    trap 'INTERRUPTED=yes' TERM
    trap stop_started EXIT
    for id in $ids; do
        [ -z "$INTERRUPTED" ] || exit
        pid_of "$id" >/dev/null && continue
        STARTED="$STARTED $id"
        start_node "$id"
    done
    wait_ready
    trap - EXIT
}

# In the foreground: says it when a process ends, and ends with the last.
watch_over() {
    local id left ids gone=" "
    ids=$(all_ids)
    while kill -0 $$ 2>/dev/null; do # the shell that hears Ctrl-C
        sleep 1
        left=
        for id in $ids; do
            if pid_of "$id" >/dev/null; then
                left=yes gone=${gone/" $id "/" "}
            elif [[ $gone != *" $id "* ]]; then
                say "$id has stopped; its log: $VAR/log/$id.log"
                gone="$gone$id "
            fi
        done
        [ -n "$left" ] || { say "all processes have stopped"; return 1; }
    done
}

down() {
    local id left
    for id in $(nodes | awk '$3 == "gateway" { print $1 }'); do signal_node "$id" TERM; done
    # shellcheck disable=SC2046
    wait_gone 10 $(nodes | awk '$3 == "gateway" { print $1 }') >/dev/null || true
    for id in $(all_ids); do signal_node "$id" TERM; done
    # shellcheck disable=SC2046
    if ! left=$(wait_gone 15 $(all_ids)); then
        say "still running after 15 s, killed:$left"
        for id in $left; do signal_node "$id" KILL; done
        # shellcheck disable=SC2086
        wait_gone 5 $left >/dev/null || true
    fi
}

greet() {
    local access secret role port index host addr= others=
    while read -r _ _ role _ index host; do
        [ "$role" = gateway ] || continue
        if [ -z "$addr" ]; then addr=$host; elif [ "$host" = "$addr" ]; then others+=" :$(s3_port "$index")"
        else others+=" http://$host:$(s3_port "$index")"; fi
    done < <(nodes)
    access=$(sed -n 's/^access_key_id=//p' "$VAR/root-credentials")
    secret=$(sed -n 's/^secret_access_key=//p' "$VAR/root-credentials")
    port=$(s3_port 0)
    cat <<EOF

Cairn serves S3 on http://$addr:$port$others
Data: $VAR   Logs: $VAR/log   Health: make status

Next, in another terminal:
  export AWS_ACCESS_KEY_ID=$access
  export AWS_SECRET_ACCESS_KEY=$secret
  export AWS_DEFAULT_REGION=us-east-1
  aws --endpoint-url http://$addr:$port s3 mb s3://photos
  aws --endpoint-url http://$addr:$port s3 cp README.md s3://photos/
  aws --endpoint-url http://$addr:$port s3 ls s3://photos
  build/rel/bin/cairnctl status --endpoint http://$addr:$port
EOF
}

status() {
    local id zone role port index addr pid state bad=0
    printf '%-18s %-5s %-12s %-8s %-7s %s\n' NODE ZONE ROLE PID STATE ADDRESS
    while read -r id zone role port index addr; do
        if pid=$(pid_of "$id"); then
            if [ "$(readyz "$addr" "$port")" = 200 ]; then state=ready; else state=waiting bad=1; fi
        else
            pid=- state=down bad=1
        fi
        [ "$role" = gateway ] && port=$(s3_port "$index")
        printf '%-18s %-5s %-12s %-8s %-7s %s:%s\n' "$id" "$zone" "$role" "$pid" "$state" "$addr" "$port"
    done < <(nodes)
    return $bad
}

run() {
    up
    trap 'trap "" TERM; say; say "stopping"; down; exit 0' TERM
    [ -z "$INTERRUPTED" ] || kill -TERM "$BASHPID" # it came when all were ready
    greet
    say
    say "Ctrl-C stops the cluster."
    watch_over
}

# Does it in a process group of its own and passes signals on, as TERM.  Ctrl-C goes to every process of a group, and a
# shell that runs a command may leave it to that command; this one only waits.
supervise() { # function
    local pid= told=
    trap 'told=yes; [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null || true' INT TERM HUP
    set -m
    "$1" &
    pid=$!
    set +m
    [ -z "$told" ] || kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
    wait "$pid"
}

case ${1:-} in
run) supervise run ;;
up) supervise up; greet ;;
files) files ;;
down) down ;;
status) status ;;
wipe)
    down
    rm -rf "${VAR:?}/data" "$VAR/conf" "$VAR/log" "$VAR/run" "$VAR/pki" "$VAR/topology" "$VAR/cluster-id" "$VAR/root-credentials" "$VAR/master-key"
    say "deleted the cluster in $VAR"
    ;;
start) start_node "${2:?node id}" ;;
stop) signal_node "${2:?node id}" TERM; wait_gone 15 "$2" >/dev/null ;;
kill) signal_node "${2:?node id}" KILL; wait_gone 5 "$2" >/dev/null ;;
*) sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p'; exit 2 ;;
esac
