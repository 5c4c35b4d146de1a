#!/usr/bin/env bash
# Makes the Python packages: tools/python/build.sh [all | WHAT...], where WHAT is
#   dev        crossrank for this machine, quickly: kernels optimised, the rest little (what `check.sh ci` tests)
#   model      crossrank-model, pure data, out of models/default
#   manylinux  crossrank for Linux with glibc 2.17 or later, x86-64, by zig
# Wheels go to tools/python/dist/, of `dev` to target/python/dev/. It needs Rust and Python 3.10 or later, and installs
# maturin and zig into target/python/build.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
here=$root/tools/python
dist=$here/dist
venv=$root/target/python/build

case ${1-all} in
all) whats="model manylinux" ;;
*) whats=$* ;;
esac

if [ ! -e "$venv/complete" ] || [ "$here/build-requirements.txt" -nt "$venv/complete" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet -r "$here/build-requirements.txt"
    touch "$venv/complete"
fi
# maturin looks for zig as a module of the Python that is in front.
export PATH=$venv/bin:$PATH

# Each package has its own; the repository has one.
cp LICENSE-MIT LICENSE-APACHE "$here/"
cp LICENSE-MIT LICENSE-APACHE "$here/model/"
cp "$here/model/README.md" "$here/python/crossrank/MODEL_CARD.md"
cp "$here/model/README.md" "$here/model/crossrank_model/MODEL_CARD.md"

model() {
    local folder=$here/model/crossrank_model/model
    rm -rf "$folder" "$here/model/build"
    mkdir -p "$folder"
    for file in config.json tokenizer.json tokenizer_config.json model.safetensors; do
        cp "models/default/$file" "$folder/"
    done
    pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "${1-$dist}" "$here/model"
    rm -rf "$here/model/build" "$here"/model/*.egg-info
}

for what in $whats; do
    case $what in
    dev)
        maturin build --quiet --locked --manifest-path "$here/Cargo.toml" --profile dev --out "$root/target/python/dev" \
            --config 'profile.dev.package.crossrank-kernels.opt-level=3' --config 'profile.dev.debug=false'
        model "$root/target/python/dev"
        ;;
    model) model ;;
    manylinux)
        maturin build --quiet --locked --manifest-path "$here/Cargo.toml" --release --zig --target x86_64-unknown-linux-gnu \
            --compatibility manylinux2014 --out "$dist"
        ;;
    *)
        echo "usage: $0 [all | dev | model | manylinux]..." >&2
        exit 2
        ;;
    esac
done
