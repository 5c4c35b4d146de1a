# Sourced by the checks, which have set `root`.

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

# environment NAME REQUIREMENTS: a virtual environment with these packages, made anew when they change.
environment() {
    local venv=$root/target/python/$1
    if [ ! -e "$venv/complete" ] || [ "$2" -nt "$venv/complete" ]; then
        rm -rf "$venv"
        step python3 -m venv "$venv"
        step "$venv/bin/pip" install --quiet -r "$2"
        touch "$venv/complete"
    fi
}
