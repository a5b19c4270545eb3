#!/usr/bin/env bash
# Makes the pictures of the documentation, and looks at every page in headless Chromium: at 360 and
# 1440 pixels, light and dark, first of the demo, then of an exporter with TLS, authentication and a
# path prefix. Prints each error of the console, each part that is wider than the screen, each text
# that is hard to read and each dead link, and fails if there is one. Takes five minutes. Needs Go,
# Chromium and openssl, and user namespaces or root.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
pids=()
finish() {
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null && wait "$pid" || true
	done
	rm -rf "$work"
}
trap finish EXIT
program=$work/ipsec_path_exporter
go build -o "$program" .
go build -o "$work/pages" ./tools/pages

# await SECONDS COMMAND... waits until the command succeeds.
await() {
	local until=$((SECONDS + $1))
	shift
	until "$@"; do
		if ((SECONDS > until)); then
			echo "$0: not within time: $*" >&2
			cat "$work"/*.log >&2
			exit 1
		fi
		sleep 1
	done
}

"$program" demo --web.listen-address=localhost:10511 >"$work/demo.log" 2>&1 &
pids+=($!)
await 400 grep -q '^All .* peers diagnosed as expected' "$work/demo.log"
"$work/pages" -pictures docs/images http://localhost:10511/

# The hash is of the password "pages".
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>"$work/openssl.log"
cat >"$work/web.yml" <<'END'
tls_server_config: {cert_file: cert.pem, key_file: key.pem}
basic_auth_users: {guest: $2a$04$9BBVtEKbi7iTRRpXS3FudOSE/q6/om/DBqYNrnA14csFHNGs0LRU6}
END
"$program" --peer=here=127.0.0.1 --peer=too=127.0.0.2 --web.config.file="$work/web.yml" \
	--web.listen-address=localhost:10512 --web.external-url=https://localhost:10512/vpn/ >"$work/serve.log" 2>&1 &
pids+=($!)
await 30 curl -sfko "$work/ready" -u guest:pages https://localhost:10512/vpn/-/ready
"$work/pages" -user guest:pages https://localhost:10512/vpn/
