#!/usr/bin/env bash
# What holds of the server beyond what `cargo test` runs.
#
#     bash tools/server/check.sh ci      # real processes and curl, the files of deploy; no Python package
#     bash tools/server/check.sh full    # that, and real clients in two locked Python environments (a package index)
set -euo pipefail
cd "$(dirname "$0")/../.."
mode=${1:?expected ci or full}

# What `cargo test` builds, so that nothing is built twice.
cargo test --workspace --no-run --quiet --locked
binary=$PWD/target/debug/crossrank
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

# Starts a server in the background and sets `url`.
serve() {
    local log=$1
    shift
    "$binary" serve --port 0 "$@" >"$work/$log" 2>"$work/$log.err" &
    until grep -q '^listening on ' "$work/$log"; do
        kill -0 $! 2>/dev/null || { cat "$work/$log.err"; exit 1; }
        sleep 0.05
    done
    url=$(sed -n 's/^listening on //p' "$work/$log")
}

echo secret >"$work/keys"
serve open
open=$url
open_process=$!
serve closed --api-key-file "$work/keys"
closed=$url

# What products that cannot run here send, byte by byte, as their sources have it.
json='Content-Type: application/json'
expect() {
    local name=$1 wanted=$2 found
    shift 2
    found=$(curl -sS -o "$work/body" -w '%{http_code}' "$@")
    [ "$found" = "$wanted" ] || { echo "$name: expected status $wanted, found $found: $(cat "$work/body")"; exit 1; }
    echo "$name: ok"
}
has() {
    grep -qE "$1" "$work/body" || { echo "expected $1 in $(cat "$work/body")"; exit 1; }
}
expect health 200 --retry 20 --retry-all-errors "$open/health"
expect weaviate 204 "$open/.well-known/ready"
expect weaviate 200 -H "$json" -d '{"query":"rivers","documents":["a","b"],"property":""}' "$open/rerank"
has '^\{"query":"rivers","scores":\[\{"document":"a","score":'
expect open-webui 200 -H "$json" -H 'Authorization: Bearer ' -d '{"model":"m","query":"rivers","documents":["a","b"],"top_n":2}' "$open/v1/rerank"
has '"relevance_score"'
expect librechat 200 -H "$json" -d '{"model":"jina-reranker-v2-base-multilingual","query":"rivers","top_n":1,"documents":["a","b"],"return_documents":true}' "$open/v1/rerank"
has '"document":\{"text":"'
expect dify 200 -H "$json" -H 'Authorization;' --data-binary '{"model":"m","query":"rivers","documents":["a","b"],"top_n":null,"return_documents":true}' "$open/v1/rerank"
expect ragflow 200 -H "$json" -d '{"model":"m","query":"rivers","return_documents":"true","return_len":"true","documents":["a","b"]}' "$open/v1/rerank"
expect ragflow-tei 200 -H "$json" -d '{"query":"rivers","texts":["a","b"],"raw_scores":false,"truncate":true}' "$open/rerank"
has '^\[\{"index":[01],"score":'
expect elasticsearch 200 -H "$json" -d '{"texts":["a","b"],"query":"rivers","return_text":true,"top_n":1}' "$open/rerank"
has '"text":"[ab]"\}\]$'
expect nim 200 -H "$json" -d '{"model":"m","query":{"text":"rivers"},"passages":[{"text":"a"}],"truncate":"END"}' "$open/v1/ranking"
has '"logit":'
expect expect-continue 200 -H "$json" -H 'Expect: 100-continue' -d '{"query":"rivers","texts":["a"]}' "$open/rerank"
expect chunked 200 -H "$json" -H 'Transfer-Encoding: chunked' -d '{"query":"rivers","texts":["a"]}' "$open/rerank"
expect gzip 415 -H "$json" -H 'Content-Encoding: gzip' -d x "$open/rerank"
expect no-key 401 -H "$json" -d '{"query":"rivers","texts":["a"]}' "$closed/rerank"
[ ! -s "$work/body" ]
expect key 200 -H "$json" -H 'Authorization: Bearer secret' -d '{"query":"rivers","texts":["a"]}' "$closed/rerank"

# SIGTERM under load: every request that was accepted is answered. Who comes too late is refused, which is curl's 7.
for client in $(seq 8); do
    (
        code=0
        while [ "$code" = 0 ]; do
            curl -sS -o /dev/null -w '%{http_code}\n' -H "$json" -d '{"query":"rivers","texts":["a","b","c"]}' "$open/rerank" 2>/dev/null || code=$?
        done
        echo "last $code"
    ) >>"$work/codes" &
    clients[client]=$!
done
until [ "$(grep -c 200 "$work/codes")" -ge 40 ]; do sleep 0.05; done
kill -TERM "$open_process"
code=0
wait "$open_process" || code=$?
[ "$code" = 0 ] || { echo "SIGTERM: exit code $code"; exit 1; }
wait "${clients[@]}"
if grep -qvx -e 200 -e 000 -e 'last 7' "$work/codes"; then
    sort "$work/codes" | uniq -c
    exit 1
fi
echo "SIGTERM under load: ok"

# Clocks that jump, where Debian's faketime is there: hours forward and back, while requests come.
if command -v faketime >/dev/null; then
    echo "+0" >"$work/clock"
    export FAKETIME_TIMESTAMP_FILE="$work/clock" FAKETIME_NO_CACHE=1
    # The library itself: the program `faketime` would fix the time.
    library=$(find /usr/lib -name 'libfaketimeMT.so.1' | head -1)
    # The monotonic clock does not jump on any system, so that it is left alone.
    export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
    LD_PRELOAD=$library serve jumps
    unset FAKETIME_TIMESTAMP_FILE FAKETIME_NO_CACHE
    for jump in +0 +5h -7h +1d +0; do
        echo "$jump" >"$work/clock"
        expect "clock $jump" 200 --max-time 20 -H "$json" -d '{"query":"rivers","texts":["a","b","c"]}' "$url/rerank"
    done
else
    echo "SKIPPED: faketime is not installed"
fi

bash tools/server/deploy/check.sh
[ "$mode" = full ] || exit 0

serve open2
for name in cohere7 frameworks; do
    folder=target/clients/$name
    [ -x "$folder/bin/python" ] || python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --no-deps -r "tools/server/clients/$name.txt"
    env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy DO_NOT_TRACK=1 \
        "$folder/bin/python" "tools/server/clients/$name.py" "$url" "$closed"
done
