#!/usr/bin/env bash
# CPU per probe with 10,000 peers, one echo per second, against the reference loop, and against
# smokeping_prober and ping_exporter where they are installed. The argument is the length of each of
# the eight windows.
set -euo pipefail
exec "$(dirname "$0")/row.sh" cpu-1s "$@"
