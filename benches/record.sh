#!/usr/bin/env bash
# Keeps what the benches print in benches/records/, with machine, compiler and command; of a machine with AMX as
# NAME-amx.txt.
#
#     benches/record.sh [kernels] [engine] [latency] [scaling] [load]     (default: all, half an hour)
#
# Nothing else should run meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."

suffix=
if grep -qsw amx_tile /proc/cpuinfo; then suffix=-amx; fi

# Criterion's own times are kept short: the shares of the peak are measured by the benches themselves.
quick=(-- --warm-up-time 0.1 --measurement-time 0.2 --sample-size 10)

record() {
    local name=$1 keep=$2
    shift 2
    local command=(cargo bench --bench "$name" "$@")
    mkdir -p benches/records
    {
        echo "${command[*]}"
        date -u +%Y-%m-%d
        grep -m4 -E '^(model name|cpu family|model|stepping)' /proc/cpuinfo | tr -s '\t ' ' ' || uname -m
        echo "$(nproc) cores, $(uname -sr)"
        rustc --version
        echo "commit $(git rev-parse --short HEAD)"
        echo
        "${command[@]}" | grep -E "$keep"
    } >"benches/records/$name$suffix.txt"
}

[ $# -gt 0 ] || set -- kernels engine latency scaling load
for name in "$@"; do
    case $name in
        kernels | engine) record "$name" 'of the peak' "${quick[@]}" ;;
        latency | scaling) record "$name" '.' ;;
        load) record "$name" 'time: |^load' ;;
        *) echo "no bench is called $name" >&2 && exit 2 ;;
    esac
done
