#!/usr/bin/env bash
# Memory of the exporter with 10,000 peers: echo only, and all default collectors. The argument is the
# length of each of the three windows; the second half of each is measured.
set -euo pipefail
exec "$(dirname "$0")/row.sh" memory "$@"
