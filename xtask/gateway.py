"""The gateway that the scripts beside this file measure."""
import contextlib, json, socket, subprocess, tempfile


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def run(program, kong_yml, **properties):
    """Starts it with one worker thread; gives the port it proxies at and the id of its supervisor."""
    folder, port = tempfile.mkdtemp(), free_port()
    with open(f"{folder}/kong.yml", "w") as out:
        json.dump({"_format_version": "3.0", **kong_yml}, out)
    properties = {"prefix": f"{folder}/prefix", "database": "off", "declarative_config": f"{folder}/kong.yml",
                  "proxy_listen": f"127.0.0.1:{port}", "admin_listen": "off", "status_listen": "off",
                  "nginx_worker_processes": 1, **properties}
    with open(f"{folder}/kong.conf", "w") as out:
        out.writelines(f"{name} = {value}\n" for name, value in properties.items())
    process = subprocess.Popen([program, "run", "-c", f"{folder}/kong.conf"], stdout=subprocess.PIPE, text=True)
    try:
        if not any("started" in line for line in process.stdout):
            raise SystemExit(f"{program} does not start with {folder}/kong.conf")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()
