#!/bin/sh
# Installs the Debian packages named in the given lists that are not installed yet.
# Usage: deploy/deps.sh LIST...      Quick when all are there; says what it installs.
set -eu
arch=$(dpkg --print-architecture)
want=$(sed -e 's/#.*//' -e "s/ *\[$arch\]//" -e '/\[/d' "$@" | tr -s ' \n' ' ')
missing=
for p in $want; do
    dpkg-query -W -f '${db:Status-Abbrev}\n' "$p" 2>/dev/null | grep -q '^ii' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
echo "installing with apt:$missing"
sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "error: not root and no sudo; install by hand:$missing" >&2; exit 1; }
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
for try in 1 2 3; do
    # shellcheck disable=SC2086
    if { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    sleep $((try * 2))
done
tail -n 20 "$log" >&2
echo "error: apt could not install:$missing" >&2
exit 1
