#!/usr/bin/env bash
# Everything docs/evidence.md speaks of. Each part that passed is kept under evidence/ by the hash of the code it speaks of, and
# is skipped when the campaign is started again: so it can be stopped at any time, and goes on where it was.
#
#   tests/evidence.sh [SEEDS]     SEEDS: how many seeds in all, 100000 unless given
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-100000}
bin=.venv/bin
hash=$(find src tests -name '*.py' | sort | xargs sha256sum | sha256sum | cut -c1-12)
mkdir -p evidence

if [ ! -e "evidence/tests-passed-$hash" ]; then
    MULTIPAXOS_PARTS=evidence/parts.json $bin/python -m pytest -n 2 --dist worksteal
    $bin/multipaxos verify evidence --tests evidence/parts.json
    touch "evidence/tests-passed-$hash"
fi
if [ ! -e "evidence/long-tests-passed-$hash" ]; then
    MULTIPAXOS_LONG=1 $bin/python -m pytest -q -s tests/cluster
    touch "evidence/long-tests-passed-$hash"
fi
exec $bin/multipaxos verify evidence --run --seeds "$seeds" --out docs/evidence.md
