"""A stand-in for Consul's HTTP API, written from its documentation: no package of Consul is to be had where the tests run.

It answers GET /v1/health/service/NAME?passing with the instances in a JSON file, numbers the states of that file from 1,
and lets a question with `index` and `wait` wait for the next one. Usage: consul.py PORT FILE; port 0 takes a free one,
which it tells in a line.
"""

import http.server
import json
import sys
import threading
import time
import urllib.parse

FILE = sys.argv[2]
LOCK = threading.Lock()
STATE = {"index": 0, "instances": None}


def state():
    """The index and the instances as they are now."""
    with open(FILE, encoding="utf-8") as file:
        instances = json.load(file)
    with LOCK:
        if instances != STATE["instances"]:
            STATE["index"] += 1
            STATE["instances"] = instances
        return STATE["index"], instances


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        asked = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        if not url.path.startswith("/v1/health/service/") or "passing" not in asked:
            self.send_error(404)
            return
        index, instances = state()
        if "index" in asked:
            end = time.monotonic() + int(asked["wait"][0].removesuffix("ms")) / 1000
            while index == int(asked["index"][0]) and time.monotonic() < end:
                time.sleep(0.02)
                index, instances = state()
        body = json.dumps(instances).encode()
        self.send_response(200)
        self.send_header("X-Consul-Index", str(index))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
