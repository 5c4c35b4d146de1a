#!/usr/bin/env bash
# Capacity and latencies of one server, in the words of README.md; what it prints is a record.
#
#     bash tools/server/load/measure.sh URL TEXTS.json [SECONDS]
set -euo pipefail
url=$1 texts=$(realpath "$2") seconds=${3-20}
cd "$(dirname "$0")/../../.."
loop() { cargo bench --quiet -p crossrank-server --bench open_loop -- --url "$url" --texts "$texts" --seconds "$seconds" "$@"; }

grep -m1 'model name' /proc/cpuinfo
for kind in snippets50 pair; do
    echo "== $kind"
    loop capacity --kind "$kind" | tee "${TMPDIR:-/tmp}/capacity-$kind"
done
capacity() { sed -n 's/.*"capacity_a_second":\([0-9.]*\).*/\1/p' "${TMPDIR:-/tmp}/capacity-$1"; }
echo "== mixed"
loop mixed --pairs "$(capacity pair)" --snippets "$(capacity snippets50)"
echo "== five clients at once"
loop five
