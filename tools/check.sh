#!/usr/bin/env bash
# The gate: what CI runs, and what to run before a commit. Needs the Rust toolchain and nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
step cargo clippy -p crossrank --no-default-features --locked -- -D warnings
step cargo clippy -p crossrank-cli --no-default-features --all-targets --locked -- -D warnings

# What a machine of CI's kind must have: losing it would otherwise look like a test that was skipped.
if [ "$(uname -m)" = x86_64 ] && grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
    export CROSSRANK_REQUIRE_ISA="${CROSSRANK_REQUIRE_ISA-portable,avx2}"
fi

# The README's two commands, as they stand there.
readme_command() {
    printf '\n== README: %s\n' "$1"
    grep -qF "    $1 " README.md || { echo "README.md has no command \`$1\`"; exit 1; }
    $1
}
readme_command "cargo test --workspace"
step cargo test -p crossrank --no-default-features --test ids --locked
readme_command "cargo run --release --example rerank"

# The server as a process, with curl.
step bash tools/server/check.sh ci

RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked

# The stated rust-version is tested by the toolchain that has it.
stated=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
printf '\n== rust-version %s\n' "$stated"
if rustc --version | grep -qF "rustc $stated."; then
    echo "is the toolchain of this run"
elif cargo "+$stated" --version >/dev/null 2>&1; then
    cargo "+$stated" check --workspace --all-targets --locked
else
    echo "SKIPPED: this is $(rustc --version), and $stated is not installed"
fi

# The same engine in browsers and Node.
step bash tools/web/check.sh ci

printf '\n== no C in the default build, no build script\n'
if cargo tree -p crossrank -e normal,build --prefix none --locked | grep -E '^(cc|cmake|pkg-config|bindgen) '; then
    echo "the engine depends on a C toolchain"
    exit 1
fi
if [ -e build.rs ] || [ -e kernels/build.rs ]; then
    echo "the engine has a build script"
    exit 1
fi

# Cargo keeps what it unpacked and built of our packages, and would take it for these: the version is the same. A folder
# that was never there has nothing to keep.
packages=$(mktemp -d)
trap 'rm -rf "$packages" "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/crossrank-*' EXIT
# They only have to build.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=none
step cargo package -p crossrank-kernels -p crossrank --locked --allow-dirty --target-dir "$packages"
for package in "$packages"/package/crossrank-*.crate; do
    size=$(wc -c <"$package")
    echo "$package: $size bytes"
    [ "$size" -lt 2000000 ] || { echo "over 2 MB"; exit 1; }
done
