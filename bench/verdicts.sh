#!/usr/bin/env bash
# Everything that the exporter says about 10,000 peers of all kinds, against the truth, with three
# seeds. Ends when all verdicts are right; the argument limits the time of each seed.
set -euo pipefail
exec "$(dirname "$0")/row.sh" verdicts "$@"
