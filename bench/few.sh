#!/usr/bin/env bash
# CPU per probe with 100 peers, against fping where it is installed, and with 10 peers. The argument
# is the length of each of the six windows.
set -euo pipefail
exec "$(dirname "$0")/row.sh" few "$@"
