#!/usr/bin/env bash
# Writes what the benches print of shares, latencies and costs to benches/records/, with machine, compiler and command.
# Takes about ten minutes; nothing else should run.
set -euo pipefail
cd "$(dirname "$0")/.."

# Criterion's own times are shortened: what is kept here is measured by the benches themselves.
quick="--warm-up-time 0.1 --measurement-time 0.2 --sample-size 10"

record() {
    name=$1
    command="cargo bench --bench $*"
    {
        echo "$command"
        date -u +%Y-%m-%d
        grep -m1 'model name' /proc/cpuinfo || uname -m
        grep -m3 -E 'cpu family|model\s*:|stepping' /proc/cpuinfo | tr -s '\t ' ' ' | paste -sd, || true
        echo "$(nproc) cores, $(uname -sr)"
        rustc --version
        echo "commit $(git rev-parse --short HEAD)"
        echo
        # shellcheck disable=SC2086
        $command 2>/dev/null | grep -E "$keep"
    } >"benches/records/$name.txt"
}

keep='of the peak' record kernels -- $quick
keep='of the peak' record engine -- $quick
keep='.' record latency
keep='.' record scaling
keep='time: ' record load
