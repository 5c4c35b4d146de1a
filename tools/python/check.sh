#!/usr/bin/env bash
# The gate of tools/python. `check.sh ci` is what CI runs: the wheel, its tests and its types, without torch. `check.sh full`
# is everything: sentence-transformers itself beside it, and the wheels that are published. It needs Rust and
# Python 3.10 or later with venv and pip, and installs the rest into target/python/.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)

source ./environment.sh

case "${1-}" in
ci | full) kind=$1 ;;
*)
    echo "usage: $0 ci|full" >&2
    exit 2
    ;;
esac

step bash build.sh dev
environment test test-requirements.txt
python=$root/target/python/test/bin/python
step "$python" -m pip install --quiet --force-reinstall --no-deps "$root"/target/python/dev/*.whl
step "$python" -m pytest
step "$python" -m mypy -p crossrank
step "$python" -m mypy tests
[ "$kind" = full ] || exit 0

environment peers full-requirements.txt
python=$root/target/python/peers/bin/python
step "$python" -m pip install --quiet --force-reinstall --no-deps "$root"/target/python/dev/*.whl
step "$python" -m pytest tests/full
step bash check-ecosystem.sh
step bash build.sh all
# What is published, in an environment that has nothing else.
step python3 -m venv --clear "$root/target/python/published"
step "$root/target/python/published/bin/pip" install --quiet numpy dist/crossrank_model-*.whl dist/crossrank-*manylinux*.whl
step "$root/target/python/published/bin/python" -c 'import crossrank; print(crossrank.CrossEncoder())'
for wheel in dist/crossrank-*.whl; do
    size=$(wc -c <"$wheel")
    echo "$wheel: $size bytes"
    [ "$size" -lt 8000000 ] || { echo "over 8 MB"; exit 1; }
done
