#!/usr/bin/env bash
# A PostgreSQL server for tests: `postgres.sh FOLDER PORT` makes one in FOLDER, starts it on 127.0.0.1:PORT and says "ready".
# It lives until standard input ends, and so never longer than the test that started it; the lines "stop", "kill" and
# "start" there do what they say, and "pool PORT" starts PgBouncer in transaction mode before it, each answered by "done". User and database are `kong`, the password is `kong`
# (SCRAM); FOLDER/server.crt is its certificate, for `localhost`. Debian's package is installed if it has to be.
set -euo pipefail
folder=$1 port=$2

fail() {
    echo "postgres.sh: $*" >&2
    exit 1
}

install() { # packages...
    [ "$(id -u)" = 0 ] || fail "not installed: install Debian's package $*"
    {
        # Tests run side by side, apt-get does not.
        flock "${TMPDIR:-/tmp}/silverback-apt" apt-get update &&
            DEBIAN_FRONTEND=noninteractive flock "${TMPDIR:-/tmp}/silverback-apt" apt-get install -y --no-install-recommends "$@"
    } >&2 || fail "installing $* failed"
}

programs() { # the newest version's folder of programs
    find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -name initdb -printf '%h\n' 2>/dev/null | sort -V | tail -n 1
}

if [ -z "$(programs)" ]; then
    # Its own server is of no use here.
    if [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    install postgresql openssl
fi
bin=$(programs)
[ -n "$bin" ] || fail "PostgreSQL is installed, but not in /usr/lib/postgresql"

# initdb and the server refuse to run as root.
as=()
[ "$(id -u)" != 0 ] || as=(runuser -u postgres --)
mkdir -p "$folder"
# shellcheck disable=SC2016
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
    -keyout "$folder/server.key" -out "$folder/server.crt" -config /dev/stdin >&2 2>/dev/null <<'CONFIGURATION'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost
CONFIGURATION
echo kong >"$folder/password"
[ "$(id -u)" != 0 ] || chown -R postgres "$folder"
chmod 600 "$folder/server.key"
"${as[@]}" "$bin/initdb" -D "$folder/data" -U kong --pwfile="$folder/password" -A scram-sha-256 -E UTF8 --locale=C \
    --no-sync >"$folder/initdb.log" 2>&1 || fail "initdb failed: $(tail -n 3 "$folder/initdb.log")"

server=
start() {
    "${as[@]}" "$bin/postgres" -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 \
        -c ssl=on -c ssl_cert_file="$folder/server.crt" -c ssl_key_file="$folder/server.key" -c fsync="${PGFSYNC:-off}" \
        -c shared_buffers=32MB -c max_connections=80 -c log_min_messages=warning </dev/null >>"$folder/log" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" && return
        kill -0 "$server" 2>/dev/null || fail "the server ended: $(tail -n 3 "$folder/log")"
        sleep 0.1
    done
    fail "the server does not answer"
}
stop() { # signal
    [ -n "$server" ] || return 0
    local main children child
    main=$(head -n 1 "$folder/data/postmaster.pid")
    children=$(cat "/proc/$main/task/$main/children" 2>/dev/null || true)
    kill "-$1" "$main" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    # A killed server's children live on for a moment, and no other one starts beside them.
    for child in $children; do
        for _ in $(seq 300); do
            [ -d "/proc/$child" ] && [ "$(cut -d ' ' -f 3 "/proc/$child/stat" 2>/dev/null)" != Z ] || break
            sleep 0.05
        done
    done
    server=
}
pool() { # port
    [ -x /usr/sbin/pgbouncer ] || install pgbouncer
    echo '"kong" "kong"' >"$folder/users.txt"
    cat >"$folder/pgbouncer.ini" <<POOL
[databases]
* = host=127.0.0.1 port=$port
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $1
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $folder/users.txt
pool_mode = transaction
default_pool_size = 2
POOL
    chmod 644 "$folder/pgbouncer.ini" "$folder/users.txt"
    "${as[@]}" /usr/sbin/pgbouncer -q "$folder/pgbouncer.ini" </dev/null >>"$folder/log" 2>&1 &
    pooler=$!
    for _ in $(seq 100); do
        "$bin/pg_isready" -q -h 127.0.0.1 -p "$1" && return
        kill -0 "$pooler" 2>/dev/null || fail "PgBouncer ended: $(tail -n 3 "$folder/log")"
        sleep 0.1
    done
    fail "PgBouncer does not answer"
}
pooler=
finish() {
    [ -z "$pooler" ] || kill "$pooler" 2>/dev/null || true
    stop QUIT
    rm -rf "$folder"
}
trap finish EXIT
start
PGPASSWORD=kong "$bin/createdb" -h 127.0.0.1 -p "$port" -U kong kong
echo ready
while read -r word argument; do
    case $word in
    start) start ;;
    stop) stop INT ;;
    kill) stop KILL ;;
    pool) pool "$argument" ;;
    *) fail "unknown word: $word" ;;
    esac
    echo "done"
done
