#!/usr/bin/env bash
# Builds the WebAssembly modules and packs the default model: tools/web/build.sh [all | MODULE...]
# Checks that engine and kernels compile for a target that has none of our SIMD: tools/web/build.sh check
#
# Modules are simd, relaxed (relaxed dot products), simd-threads and relaxed-threads.
# They go to tools/web/dist/, everything else to target/. rustup has no standard library for WebAssembly that a machine
# without its servers could get, so Debian's compiler for browsers is unpacked, not installed: `rustc` stays what it is.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
dist=$root/tools/web/dist
tool=$root/target/rust-web
build=$root/target/web

case ${1-all} in
all) modules="simd relaxed simd-threads relaxed-threads" ;;
*) modules=$* ;;
esac

# What a project's rust-version asks of the compiler.
stated=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

unpack() {
    rm -rf "$tool"
    mkdir -p "$tool/packages"
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; fi
    # Of several versions the newest; its standard library and LLVM are packages of their own.
    (
        cd "$tool/packages"
        standard=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p')
        llvm=$(apt-cache depends "$standard" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p')
        # Not as apt's own user, who may not write here.
        apt-get -q -o APT::Sandbox::User=root download rustc-web rust-web-src libstd-rust-web-dev "$standard" "$llvm"
        for package in *.deb; do dpkg -x "$package" "$tool"; done
    )
    rm -rf "$tool/packages"
    touch "$tool/complete"
}

[ -e "$tool/complete" ] || unpack
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$tool/usr/lib/x86_64-linux-gnu:$(echo "$tool"/usr/lib/llvm-*/lib)
found=$("$tool/usr/bin/rustc" --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
if [ "$(printf '%s\n' "$stated" "$found" | sort -V | head -1)" != "$stated" ]; then
    echo "tools/web/build.sh: expected Rust $stated or later in Debian's rustc-web, found $found" >&2
    exit 1
fi

if [ "${1-}" = check ]; then
    # Whatever is not x86-64 and not WebAssembly sees the same parts of the sources as this one.
    RUSTC=$tool/usr/bin/rustc RUSTC_BOOTSTRAP=1 cargo check --quiet --locked -p crossrank -p crossrank-kernels \
        --target i686-unknown-linux-gnu -Zbuild-std=std --target-dir "$build/check"
    exit
fi

linker=$(env -u LD_LIBRARY_PATH rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld

pinned=$(sed -n 's/^wasm-bindgen-cli-support = "=\(.*\)"/\1/p' tools/web/bindgen/Cargo.toml)
grep -A1 '^name = "wasm-bindgen"$' Cargo.lock | grep -qF "\"$pinned\"" || {
    echo "tools/web/bindgen/Cargo.toml pins wasm-bindgen $pinned, Cargo.lock has another" >&2
    exit 1
}
env -u LD_LIBRARY_PATH cargo build --quiet --locked --manifest-path tools/web/bindgen/Cargo.toml --target-dir "$build"

module() {
    local features=+simd128
    # A module that panics is dead, and its caller is told so; what it would have said is a tenth of its size.
    local flags='--cfg getrandom_backend="wasm_js" -Zunstable-options -Cpanic=immediate-abort'
    case $1 in *relaxed*) features=$features,+relaxed-simd ;; esac
    case $1 in
    *-threads)
        features=$features,+atomics,+bulk-memory
        flags="$flags -Clink-arg=--shared-memory -Clink-arg=--max-memory=2147483648 -Clink-arg=--import-memory"
        for symbol in __wasm_init_tls __tls_size __tls_align __tls_base; do
            flags="$flags -Clink-arg=--export=$symbol"
        done
        ;;
    esac
    # `RUSTC_BOOTSTRAP` because the standard library is built along. A folder each, so that two are built at once.
    RUSTC=$tool/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Ctarget-feature=$features $flags" \
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker cargo build --quiet --locked -p crossrank-web --profile web \
        --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort --target-dir "$build/$1" 2>&1 |
        { grep -v -e 'unstable feature specified' -e 'not stably supported' -e '^ *|$' -e '^$' || true; }
    env -u LD_LIBRARY_PATH "$build/debug/crossrank-bindgen" \
        "$build/$1/wasm32-unknown-unknown/web/crossrank_web.wasm" "$dist" "$1"
    echo "$1: $(wc -c <"$dist/$1_bg.wasm") bytes"
}

mkdir -p "$dist"
running=
for name in $modules; do
    module "$name" &
    running="$running $!"
    # Two at a time.
    [ "$(wc -w <<<"$running")" -lt 2 ] || { wait "${running##* }"; wait ${running% *}; running=; }
done
for job in $running; do wait "$job"; done

node tools/web/pack.mjs "$dist" "${modules%% *}" models/default "$dist/model"
