#!/usr/bin/env bash
# Checks the files of this folder by the tools that read them; what is not installed is skipped, aloud.
set -euo pipefail
cd "$(dirname "$0")"

if command -v systemd-analyze >/dev/null; then
    # The unit's program need not be there yet.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    sed "s|^ExecStart=[^ ]*|ExecStart=$(command -v true)|" crossrank.service >"$folder/crossrank.service"
    found=$(systemd-analyze verify --man=no "$folder/crossrank.service" 2>&1) || { echo "$found"; exit 1; }
    if grep -q "crossrank.service" <<<"$found"; then
        echo "$found"
        exit 1
    fi
    echo "crossrank.service: ok"
else
    echo "SKIPPED: systemd-analyze is not installed"
fi

binary=../../../target/x86_64-unknown-linux-gnu/release/crossrank
if [ -e "$binary" ]; then
    ldd "$binary" 2>&1 | grep -q -e "statically linked" -e "not a dynamic executable" || { echo "$binary is not static"; exit 1; }
    echo "static binary: ok"
    if command -v buildah >/dev/null; then
        (cd ../../.. && buildah bud --isolation chroot --storage-driver vfs -f tools/server/deploy/Dockerfile -t crossrank .)
        echo "image: ok"
    else
        echo "SKIPPED: buildah is not installed"
    fi
else
    echo "SKIPPED: there is no static binary (README.md says how it is built)"
fi
