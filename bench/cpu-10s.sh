#!/usr/bin/env bash
# CPU per probe with 10,000 peers, one echo per 10 s, against smokeping_prober where it is installed.
# The argument is the length of each of the six windows.
set -euo pipefail
exec "$(dirname "$0")/row.sh" cpu-10s "$@"
