#!/usr/bin/env bash
# An LDAP server for tests: `slapd.sh FOLDER PORT TLS` makes one in FOLDER, has it listen on 127.0.0.1:PORT (plain, StartTLS)
# and 127.0.0.1:TLS (ldaps) and says "ready". It lives until standard input ends, and so never longer than the test that started
# it. Its users are below dc=test: cn=alice (password wonder:land) and cn="Smith, J." (password j). Debian's `slapd` is
# installed if it has to be; its own server is not started.
set -euo pipefail
folder=$1 port=$2 tls=$3

fail() {
    echo "slapd.sh: $*" >&2
    exit 1
}
if [ ! -x /usr/sbin/slapd ]; then
    [ "$(id -u)" = 0 ] || fail "not installed: install Debian's packages slapd and openssl"
    # Neither a server of its own nor questions: policy-rc.d says no to starting it.
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; ours=$policy; }
    {
        # Tests run side by side, apt-get does not.
        flock "${TMPDIR:-/tmp}/silverback-apt" apt-get update && echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections &&
            DEBIAN_FRONTEND=noninteractive flock "${TMPDIR:-/tmp}/silverback-apt" apt-get install -y --no-install-recommends slapd openssl
    } >&2 || fail "installing slapd failed"
    [ -z "${ours:-}" ] || rm -f "$ours"
fi
mkdir -p "$folder/db"
cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -keyout key.pem -out cert.pem 2>/dev/null
cat >slapd.conf <<CONFIGURATION
include /etc/ldap/schema/core.schema
pidfile $folder/pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile $folder/cert.pem
TLSCertificateKeyFile $folder/key.pem
database mdb
maxsize 10485760
suffix "dc=test"
rootdn "cn=root,dc=test"
directory $folder/db
CONFIGURATION
cat >users.ldif <<'USERS'
dn: dc=test
objectClass: dcObject
objectClass: organization
o: test
dc: test

dn: cn=alice,dc=test
objectClass: person
cn: alice
sn: x
userPassword: wonder:land

dn: cn=Smith\, J.,dc=test
objectClass: person
cn: Smith, J.
sn: x
userPassword: j
USERS
/usr/sbin/slapadd -f slapd.conf -l users.ldif >slapadd.log 2>&1 || fail "slapadd failed: $(tail -n 3 slapadd.log)"
/usr/sbin/slapd -d 0 -f slapd.conf -h "ldap://127.0.0.1:$port ldaps://127.0.0.1:$tls" </dev/null >slapd.log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 300); do
    if (: <"/dev/tcp/127.0.0.1/$tls") 2>/dev/null; then break; fi
    kill -0 "$server" 2>/dev/null || fail "the server ended: $(tail -n 3 slapd.log)"
    sleep 0.1
done
echo ready
cat >/dev/null
