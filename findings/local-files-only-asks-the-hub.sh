#!/usr/bin/env bash
# huggingface_hub 2.4.0: a process that only reads its cache, by local_files_only=True, sends a request to the hub all the
# same.
#
# One would guess that "local files only" means no network, as its documentation says that the file is taken from the cache.
# The file is; but the endpoint is also asked for a list of agent harnesses: once a day where it answers, and by every
# process where it does not, as a mirror or a firewall. HF_HUB_OFFLINE=1 stops that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q huggingface_hub==2.4.0
cat >"$folder/seen.py" <<'PYTHON'
import http.server, os, subprocess, sys, threading
from pathlib import Path

home = Path(sys.argv[1]) / "home"
snapshot = home / "hub" / "models--org--name" / "snapshots" / ("0" * 40)
snapshot.mkdir(parents=True)
(snapshot / "config.json").write_text("{}")
refs = home / "hub" / "models--org--name" / "refs"
refs.mkdir()
(refs / "main").write_text("0" * 40)

asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append(self.path)
        self.send_error(404)
    do_HEAD = do_GET
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()

code = """
import huggingface_hub
path = huggingface_hub.hf_hub_download("org/name", "config.json", local_files_only=True)
print(huggingface_hub.__version__, path.rsplit("/", 1)[1])
"""
def run(**more):
    asked.clear()
    names = ("PATH", "SYSTEMROOT")
    env = {name: os.environ[name] for name in names if name in os.environ}
    env |= {"HF_HOME": str(home), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", **more}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    return out.stdout.strip(), list(asked)

version, plain = run()
print("huggingface_hub", version, "with local_files_only:", plain)
_, offline = run(HF_HUB_OFFLINE="1")
print("with HF_HUB_OFFLINE=1:", offline)
assert plain and offline == [], "it behaves otherwise now"
PYTHON
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
