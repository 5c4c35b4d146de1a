#!/usr/bin/env bash
# The part of `check.sh full` that needs other libraries: adapters, Ray and Spark, each with the pinned packages of
# requirements/ in an environment of its own under target/python/, and the blocks of the docs that use them.
#   check-ecosystem.sh [adapters | ray | spark]...     all three, unless some are named
# It needs the wheels of `build.sh dev`, Python 3.10 or later with venv and pip, and for Spark a Java of version 17 or 21.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)

source ./environment.sh

[ "$#" -gt 0 ] || set -- adapters ray spark
for group in "$@"; do
    requirements=requirements/$group.txt
    [ -e "$requirements" ] || { echo "usage: $0 [adapters | ray | spark]..." >&2; exit 2; }
    venv=$root/target/python/$group
    environment "$group" "$requirements"
    step "$venv/bin/pip" install --quiet --force-reinstall --no-deps "$root"/target/python/dev/*.whl
    case $group in
    adapters) tests=(tests/full/test_adapters_*.py) ;;
    *) tests=("tests/full/test_$group.py") ;;
    esac
    # Other libraries' warnings are not ours. What is missing is a failure here, not a skip.
    CROSSRANK_REQUIRE=$group step "$venv/bin/python" -m pytest -W default "${tests[@]}" tests/test_docs.py
done
