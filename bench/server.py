# SPDX-License-Identifier: MIT
#
# A server with a thread for each connection, and clients that keep it busy over 127.0.0.1.
# Run with PYTHONMALLOC=malloc.  Argument: requests.
import http.client
import http.server
import json
import sys
import threading

CLIENTS = 4


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"sum": sum(asked["numbers"]), "names": sorted(asked["names"])}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


def client(port, requests):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in range(requests):
        body = {"numbers": list(range(number % 200)), "names": [f"name {i * 7 % 31}" for i in range(31)]}
        connection.request("POST", "/", json.dumps(body))
        assert json.loads(connection.getresponse().read())["sum"] == sum(body["numbers"])
    connection.close()


def main(requests):
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    clients = [threading.Thread(target=client, args=(server.server_port, requests // CLIENTS)) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    server.shutdown()


main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
