"""Ten thousand open connections, of which some send a byte a second, and a request among them: many.py URL PID"""

import json
import resource
import selectors
import socket
import sys
import time
import urllib.request

url, pid = sys.argv[1], sys.argv[2]
IDLE, SLOW, SECONDS = 10_000, 200, 20
BODY = json.dumps({"query": "where do rivers go", "texts": ["bread", "a river runs to the sea"]}).encode()

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if hard < IDLE + SLOW + 100:
    print(f"SKIPPED: a process may have {hard} descriptors here")
    sys.exit(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (IDLE + SLOW + 100, hard))


def resident():
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1e3


def ask():
    start = time.monotonic()
    request = urllib.request.Request(url + "/rerank", BODY, {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request, timeout=10))
    assert [item["index"] for item in answer] == [1, 0], answer
    return time.monotonic() - start


host, port = url.removeprefix("http://").split(":")
ask()
before = resident()
idle = []
for _ in range(IDLE):
    idle.append(socket.create_connection((host, int(port))))
slow = [socket.create_connection((host, int(port))) for _ in range(SLOW)]
head = b"POST /rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
for second in range(SECONDS):
    for connection in slow:
        connection.sendall((head + BODY)[second : second + 1])
    time.sleep(max(0.0, 1 - ask()))
print(f"{IDLE} idle and {SLOW} slow connections: {resident() - before:.1f} MB more")
# Those that were slow so far get their answers once they send the rest.
for connection in slow:
    connection.sendall((head + BODY)[SECONDS:])
for connection in slow:
    connection.settimeout(20)
    assert connection.recv(15).startswith(b"HTTP/1.1 200"), "a slow connection was not answered"
# Who said nothing has not been closed before its time, or was, by a server that is out of descriptors: not by a fault.
selector = selectors.DefaultSelector()
for connection in idle:
    selector.register(connection, selectors.EVENT_READ)
closed = len(selector.select(timeout=0))
print(f"{closed} idle connections were closed; one more request took {ask() * 1e3:.1f} ms")
assert closed == 0, "idle connections were closed within 30 seconds"
