#!/usr/bin/env bash
# Holds the server's description, and a live server against it, with programs of others: openapi-spec-validator,
# redocly (where npx is there) and schemathesis. They are installed below target/tools; a run needs the network once.
#
#   tests/tools/openapi.sh [SECONDS]        of schemathesis; default 300
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-300}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/tools/openapi
mkdir -p "$tools"

step() { printf '\n== %s\n' "$*"; }

step "tools"
if [ ! -x "$tools/bin/st" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet schemathesis==4.32.5 openapi-spec-validator==0.9.0
fi
[ -n "${BIN:-}" ] || cargo build --locked --quiet
bin=$(realpath "${BIN:-$target/debug/debvisor-region}")

step "the description is valid"
"$tools/bin/openapi-spec-validator" --validation-errors all schemas/openapi.json
if command -v npx >/dev/null; then
    npx --yes @redocly/cli@2.30.3 lint --config tests/tools/redocly.yaml schemas/openapi.json
fi

step "two regions with a resource in sync and one on its way"
lab=$(mktemp -d)
served=()
finish() {
    for pid in "${served[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$lab"
}
trap finish EXIT
token=only-for-this-run
(umask 077; echo $token >"$lab/tokens")
mkdir -p "$lab/a/resources/vm/web" "$lab/a/resources/vm/slow" "$lab/b"
head -c 3000000 /dev/urandom >"$lab/a/resources/vm/web/disk.raw"
head -c 60000000 /dev/urandom >"$lab/a/resources/vm/slow/disk.raw"
for vm in web slow; do echo '<domain/>' >"$lab/a/resources/vm/$vm/$vm.xml"; done

serve() { # REGION: serves it; its origin is in `origin` afterwards
    "$bin" serve --region "$1" --data-dir "$lab/$1" --listen "${2:-127.0.0.1:0}" --token-file "$lab/tokens" \
        --peer-tokens "$lab/credentials.toml" >"$lab/$1.out" 2>"$lab/$1.log" &
    served+=($!)
    for _ in $(seq 100); do
        origin=$(sed -n 's/^listening on //p' "$lab/$1.out")
        [ -n "$origin" ] && return
        sleep 0.1
    done
    cat "$lab/$1.log"
    exit 1
}
# A server reads its peers' credentials when it starts, and their origins are known when they have started.
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
a=127.0.0.1:$(free)
b=127.0.0.1:$(free)
(umask 077; for at in $a $b; do printf '[origins."http://%s"]\ntoken = "%s"\n' "$at" $token; done >"$lab/credentials.toml")
serve a "$a"
serve b "$b"
cat >"$lab/topology.toml" <<TOML
schema_version = 1
[regions.a]
api_endpoint = "http://$a"
primary = true
[regions.b]
api_endpoint = "http://$b"
[[replication]]
source = "a"
target = "b"
resource_types = ["vm"]
[vms.web]
replicas = ["b"]
[vms.slow]
replicas = ["b"]
TOML
"$bin" --topology "$lab/topology.toml" --credentials "$lab/credentials.toml" apply --auto-approve >"$lab/apply.out"
# Written anew, and fetched slowly: an operation that stays open.
head -c 60000000 /dev/urandom >"$lab/a/resources/vm/slow/disk.raw"
call() { curl --silent --show-error --fail -H "authorization: Bearer $token" -H 'content-type: application/json' "$@"; }
lineage=$(call "http://$b/api/v1/snapshot" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["resources"]["vm.slow"]["managed_by"])')
call -X POST "http://$b/api/v1/syncs" -H 'prefer: respond-async' -d '{"order": {"lineage": "'"$lineage"'", "term": 1,
    "resource": "vm.slow", "source": "a", "target": "b", "epoch": 1, "operation": "00000000-0000-4000-8000-000000000001",
    "compress": false}, "options": {"full": false, "accept_change": true, "bandwidth_limit": "500 kbit/s"}}' >"$lab/sync.out"

step "schemathesis, $seconds s"
status=0
# A seal is a digest of the very request: none that is made up holds, so the requests go without one.
python3 - schemas/openapi.json "$lab/openapi.json" <<'PY'
import json, sys
document = json.load(open(sys.argv[1]))
for item in document["paths"].values():
    for operation in item.values():
        operation["parameters"] = [taken for taken in operation["parameters"] if not taken.get("$ref", "").endswith("/Seal")]
json.dump(document, open(sys.argv[2], "w"))
PY
(cd "$lab" && "$tools/bin/st" --config-file "$OLDPWD/tests/tools/schemathesis.toml" run "$lab/openapi.json" \
    --url "http://$b" -H "Authorization: Bearer $token" --checks all --continue-on-failure --max-time "$seconds" \
    --generation-database none) || status=$?
grep -h '"level":"ERROR"' "$lab"/*.log && status=1
for pid in "${served[@]}"; do kill -0 "$pid" || status=1; done
exit $status
