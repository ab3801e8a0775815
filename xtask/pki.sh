#!/usr/bin/env bash
# Certificates of clients for tests, and an OCSP responder: `pki.sh FOLDER PORT LIST` makes them in FOLDER, has the responder
# listen on 127.0.0.1:PORT and says "ready". It lives until standard input ends, and so never longer than the test that started
# it. LIST is the URL that certificates name for their list of revoked ones; the list is FOLDER/list.crl. Each certificate
# is NAME.pem with NAME.key; see below for what they are. Debian's `openssl` is installed if it has to be.
set -euo pipefail
folder=$1 port=$2 list=$3

fail() {
    echo "pki.sh: $*" >&2
    exit 1
}
if ! command -v openssl >/dev/null; then
    [ "$(id -u)" = 0 ] || fail "not installed: install Debian's package openssl"
    {
        # Tests run side by side, apt-get does not.
        flock "${TMPDIR:-/tmp}/silverback-apt" apt-get update &&
            DEBIAN_FRONTEND=noninteractive flock "${TMPDIR:-/tmp}/silverback-apt" apt-get install -y --no-install-recommends openssl
    } >&2 || fail "installing openssl failed"
fi
mkdir -p "$folder"
cd "$folder"
cat >extensions <<EXTENSIONS
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[ocsp]
extendedKeyUsage = OCSPSigning
[alice]
extendedKeyUsage = clientAuth
subjectAltName = DNS:alice.test, email:alice@mail.test, URI:spiffe://test/alice, IP:10.1.2.3
[plain]
extendedKeyUsage = clientAuth
[asks]
extendedKeyUsage = clientAuth
authorityInfoAccess = OCSP;URI:http://127.0.0.1:$port
[lists]
extendedKeyUsage = clientAuth
crlDistributionPoints = URI:$list
[server]
extendedKeyUsage = serverAuth
EXTENSIONS

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
root() { # name
    key "$1"
    openssl req -x509 -new -key "$1.key" -subj "/O=Test/CN=$1" -days 30 -config /dev/stdin -extensions ca -out "$1.pem" <<CONFIGURATION
[req]
distinguished_name = name
[name]
$(cat extensions)
CONFIGURATION
}
serial=4096
sign() { # name, subject, section, authority, days
    serial=$((serial + 1))
    key "$1"
    openssl req -new -key "$1.key" -subj "$2" -multivalue-rdn -out "$1.csr" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA "$4.pem" -CAkey "$4.key" -set_serial "$serial" -days "${5:-30}" \
        -extfile extensions -extensions "$3" -out "$1.pem" 2>/dev/null
    printf '%s\t301231235959Z\t%s\t%04X\tunknown\t/CN=%s\n' "${6:-V}" "${7:-}" "$serial" "$1" >>index.txt
}
root authority
root stranger-authority
sign between /O=Test/CN=between ca authority
sign ocsp /CN=ocsp ocsp authority
sign alice "/C=DE/O=Test, Inc./CN=alice" alice authority
sign bob /CN=bob plain authority
sign carol /CN=carol plain between
sign stranger /CN=alice plain stranger-authority
sign server /CN=server server authority
sign asks /CN=asks asks authority
sign asks-revoked /CN=asks-revoked asks authority 30 R 260101000000Z
sign asks-unknown /CN=asks-unknown asks authority
sed -i '$d' index.txt # the responder does not know the last one
sign lists /CN=lists lists authority
sign lists-revoked /CN=lists-revoked lists authority 30 R 260101000000Z,keyCompromise
cat >ca.conf <<'CONFIGURATION'
[ca]
default_ca = own
[own]
database = index.txt
default_md = sha256
default_crl_days = 30
crlnumber = crlnumber
CONFIGURATION
echo 01 >crlnumber
openssl ca -config ca.conf -gencrl -cert authority.pem -keyfile authority.key -out list.pem 2>/dev/null
openssl crl -in list.pem -outform DER -out list.crl

openssl ocsp -index index.txt -port "$port" -rsigner ocsp.pem -rkey ocsp.key -CA authority.pem -nmin 60 </dev/null >ocsp.log 2>&1 &
responder=$!
trap 'kill "$responder" 2>/dev/null || true; rm -rf "$folder"' EXIT
# Not by a connection: one that ends without a request keeps this responder busy for ever.
for _ in $(seq 300); do
    if grep -q waiting ocsp.log; then break; fi
    kill -0 "$responder" 2>/dev/null || fail "the responder ended: $(tail -n 3 ocsp.log)"
    sleep 0.1
done
echo ready
cat >/dev/null
