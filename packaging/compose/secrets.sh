#!/usr/bin/env bash
# Makes the secrets that compose.yaml reads, where there are none: two passwords,
# and a certificate that browsers will warn of. Put your own in its place.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p secrets
# The folder keeps others out; the files must be readable to whoever a
# container runs as.
chmod 0700 secrets
for name in postgres_password database_password; do
    [ -e "secrets/$name" ] || openssl rand -base64 33 | tr -d '\n' >"secrets/$name"
done
if [ ! -e secrets/tls ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -keyout secrets/key -out secrets/tls 2>/dev/null
    cat secrets/key >>secrets/tls
    rm secrets/key
fi
chmod 0444 secrets/*
