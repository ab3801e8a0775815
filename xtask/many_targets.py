#!/usr/bin/env python3
"""What active health checks cost: CPU and memory of a gateway that probes many targets.

    xtask/many_targets.py PATH-TO-SILVERBACK [--targets 10000] [--interval 5] [--upstreams 1] [--seconds 30]

All targets are addresses of 127.0.0.0/8 behind one listener of this script, which answers 200. Prints the requests a second that
it saw, the worker's CPU in per cent of a core, and its resident memory, in all and beyond that of a gateway without targets."""
import argparse, asyncio, os, re, socket, threading, time
import gateway

flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
flags.add_argument("program")
flags.add_argument("--targets", type=int, default=10_000)
flags.add_argument("--interval", type=float, default=5)
flags.add_argument("--upstreams", type=int, default=1)
flags.add_argument("--seconds", type=int, default=30)
flags = flags.parse_args()
seen = 0


class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        global seen
        seen += 1
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.transport.close()


def serve(listener):
    async def forever():
        await asyncio.get_running_loop().create_server(Answer, sock=listener, backlog=4096)
        await asyncio.Event().wait()
    asyncio.run(forever())


def kong_yml(count, port):
    def address(n):
        return f"127.{1 + n // 60000}.{n // 250 % 240}.{1 + n % 250}:{port}"
    def upstream(u):
        targets = [{"target": address(n)} for n in range(u, count, flags.upstreams)]
        active = {"http_path": "/", "concurrency": 100, "healthy": {"interval": flags.interval, "successes": 1},
                  "unhealthy": {"interval": flags.interval, "http_failures": 2, "tcp_failures": 2, "timeouts": 2}}
        return {"name": f"pool{u}", "targets": targets, "healthchecks": {"active": active}}
    return {"upstreams": [upstream(u) for u in range(flags.upstreams)] if count else []}


def run(count, port, measure):
    with gateway.run(flags.program, kong_yml(count, port)) as (_, pid):
        time.sleep(2 * flags.interval)
        return measure(children(pid)[0])


def children(pid):
    return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]


def ticks(pid):
    """User and system time."""
    return list(map(int, open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) / 1024


def load(pid):
    before, requests, start = ticks(pid), seen, time.monotonic()
    time.sleep(flags.seconds)
    took = time.monotonic() - start
    cpu = [(after - before) / os.sysconf("SC_CLK_TCK") / took * 100 for before, after in zip(before, ticks(pid))]
    return (seen - requests) / took, cpu, resident(pid)


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
empty = run(0, listener.getsockname()[1], resident)
requests, cpu, memory = run(flags.targets, listener.getsockname()[1], load)
print(f"{flags.targets} targets in {flags.upstreams} upstreams, every {flags.interval} s: {requests:.0f} probes/s, "
      f"{sum(cpu):.1f} % of a core ({cpu[1]:.1f} % of it in the kernel), {memory:.0f} MB resident ({memory - empty:.0f} MB more than without targets)")
