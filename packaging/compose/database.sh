#!/usr/bin/env bash
# Run once by PostgreSQL's container, when the database is made: a role that
# owns the database and is nothing else. docs/operations.md has the two roles
# of a larger place.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --set password="$(cat /run/secrets/database_password)" <<'SQL'
CREATE ROLE rollcall LOGIN PASSWORD :'password';
CREATE DATABASE rollcall OWNER rollcall;
REVOKE ALL ON DATABASE rollcall FROM PUBLIC;
SQL
