#!/usr/bin/env bash
# CPU per IKE probe at 10,000 probes per second, against ike-scan where it is installed. The argument
# is the length of each of the two windows.
set -euo pipefail
exec "$(dirname "$0")/row.sh" ike "$@"
