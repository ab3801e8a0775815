#!/usr/bin/env python3
"""What clients notice of a target that dies and comes back: needs nginx, whose servers the targets are.

    xtask/killed_target.py PATH-TO-SILVERBACK [--rate 2000] [--targets 3]

Twice, at --rate requests a second: with passive checks and retries, and with active checks (every second, one failure) alone. One of
the targets is killed with all its connections, and started again. Prints the requests that failed, until when, and when the target
was in use again."""
import argparse, asyncio, signal, subprocess, tempfile, time
import gateway

flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
flags.add_argument("program")
flags.add_argument("--rate", type=int, default=2000)
flags.add_argument("--targets", type=int, default=3)
flags = flags.parse_args()


def target(port, folder):
    with open(f"{folder}/{port}.conf", "w") as out:
        out.write(f"daemon off; master_process off; error_log /dev/null; pid {folder}/{port}.pid;\nevents {{}}\n"
                  f"http {{ access_log off; keepalive_requests 1000000; server {{ listen 127.0.0.1:{port}; return 200 '{port}'; }} }}\n")
    return subprocess.Popen(["nginx", "-c", f"{folder}/{port}.conf", "-e", "/dev/null"])


async def client(port, pause, answers, end):
    reader = writer = None
    at = time.monotonic()
    while at < end:
        at += pause
        await asyncio.sleep(max(0, at - time.monotonic()))
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            answers.append((time.monotonic(), int(head[9:12]), body.decode()))
        except (OSError, EOFError, IndexError, asyncio.IncompleteReadError):
            answers.append((time.monotonic(), 0, ""))
            writer = None


async def load(port, seconds, events):
    answers, start = [], time.monotonic()
    clients = [client(port, 20 / flags.rate, answers, start + seconds) for _ in range(20)]
    async def act():
        for after, event in events:
            await asyncio.sleep(max(0, start + after - time.monotonic()))
            event()
    await asyncio.gather(act(), *clients)
    return start, answers


def run(name, service, checks):
    folder = tempfile.mkdtemp()
    ports = [gateway.free_port() for _ in range(flags.targets)]
    targets = [target(port, folder) for port in ports]
    kong_yml = {"services": [{"name": "s", "host": "pool", "routes": [{"paths": ["/"]}], **service}],
                "upstreams": [{"name": "pool", "healthchecks": checks, "targets": [{"target": f"127.0.0.1:{p}"} for p in ports]}]}

    def kill():
        targets[0].send_signal(signal.SIGKILL)
        targets[0].wait()

    def revive():
        targets[0] = target(ports[0], folder)

    try:
        with gateway.run(flags.program, kong_yml) as (proxy, _):
            start, answers = asyncio.run(load(proxy, 13, [(3, kill), (8, revive)]))
    finally:
        for server in targets:
            server.kill()
            server.wait()
    failed = [at - start - 3 for at, status, _ in answers if status != 200]
    back = [at - start - 8 for at, _, body in answers if body == str(ports[0]) and at > start + 8]
    print(f"{name}: {len(answers) / 13:.0f} requests/s, {len(failed)} of {len(answers)} failed"
          + (f", the last {failed[-1]:.2f} s after the kill" if failed else "")
          + (f"; in use again {back[0]:.2f} s after its start" if back else "; not in use again"))


active = {"http_path": "/", "healthy": {"interval": 1, "successes": 1},
          "unhealthy": {"interval": 1, "tcp_failures": 1, "timeouts": 1, "http_failures": 1}}
run("passive checks and retries", {"retries": 5},
    {"passive": {"unhealthy": {"tcp_failures": 1, "timeouts": 1}},
     "active": {**active, "healthy": {"interval": 0, "successes": 1}}})
run("active checks alone", {"retries": 0}, {"active": active})
