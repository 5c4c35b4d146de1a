#!/usr/bin/env bash
# A rate near capacity for long: memory stays, no answer is lost, and each equals the one given alone.
#
#     bash tools/server/load/soak.sh MODEL_DIR TEXTS.json MINUTES [REQUESTS_A_SECOND]
set -euo pipefail
model=$(realpath "$1") texts=$(realpath "$2") minutes=$3 rate=${4-24}
cd "$(dirname "$0")/../../.."
cargo build --quiet --release -p crossrank-cli
log=$(mktemp)
target/release/crossrank serve --model "model=$model" --dtype int8 --port 0 >"$log" 2>"$log.err" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
until grep -q '^listening on ' "$log"; do kill -0 "$server"; sleep 0.1; done
cargo bench --quiet -p crossrank-server --bench open_loop -- --url "$(sed -n 's/^listening on //p' "$log")/v1/rerank" \
    --texts "$texts" soak --kind snippets50 --rate "$rate" --minutes "$minutes" --pid "$server"
