#!/usr/bin/env python3
"""Traffic to names whose DNS server goes away for a while, and comes back with another address.

    xtask/dns_outage.py PATH-TO-SILVERBACK [--seconds 300] [--ttl 1]

A service by name and an upstream with a target by name are asked in turn, about a hundred times a second. Prints how many requests
there were without a DNS server and how many failed, and how long after its change the new address was in use."""
import argparse, http.client, http.server, socket, struct, threading, time
import gateway

flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
flags.add_argument("program")
flags.add_argument("--seconds", type=int, default=300)
flags.add_argument("--ttl", type=int, default=1)
flags = flags.parse_args()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.server.server_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class NameServer:
    """Answers every question for an A record with one address."""

    def __init__(self, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(512)
            if not query:
                return self.socket.close()
            end = query.index(b"\0", 12) + 5
            is_a = query[end - 4:end - 2] == b"\0\1"
            head = query[:2] + b"\x85\x80\0\1" + struct.pack(">HHH", int(is_a), 0, 0)
            record = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", flags.ttl, 4) + socket.inet_aton(address)
            self.socket.sendto(head + query[12:end] + (record if is_a else b""), client)

    def close(self):
        """An empty message ends it."""
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", self.port))


def ask(path):
    """The address that answered; None = none did."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        return body if answer.status == 200 else None
    except OSError:
        return None
    finally:
        connection.close()


def load(seconds, until=lambda answers: False):
    asked = failed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answers = [ask("/service"), ask("/upstream")]
        asked, failed = asked + 2, failed + answers.count(None)
        if until(answers):
            break
        time.sleep(0.02)
    return asked, failed


address = "127.0.0.1"
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)]
port = servers[0].server_address[1]
servers.append(http.server.ThreadingHTTPServer(("127.0.0.2", port), Answer))
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
names = NameServer()
kong_yml = {"services": [{"name": "service", "url": f"http://service.test:{port}", "routes": [{"paths": ["/service"]}]},
                         {"name": "pool", "host": "pool", "routes": [{"paths": ["/upstream"]}]}],
            "upstreams": [{"name": "pool", "targets": [{"target": f"target.test:{port}"}]}]}
with gateway.run(flags.program, kong_yml, dns_resolver=f"127.0.0.1:{names.port}") as (proxy, _):
    load(10, lambda answers: None not in answers)
    print("with DNS: %d requests, %d failed" % load(3 * flags.ttl))
    names.close()
    print("%d s without: %d requests, %d failed" % (flags.seconds, *load(flags.seconds)))
    names = NameServer(names.port)
    print("DNS is back: %d requests, %d failed" % load(40))
    address, began = "127.0.0.2", time.monotonic()
    asked, failed = load(30, lambda answers: answers == ["127.0.0.2"] * 2)
    print(f"another address was in use after {time.monotonic() - began:.2f} s (time to live: {flags.ttl} s), {failed} of {asked} requests failed")
