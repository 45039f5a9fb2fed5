#!/usr/bin/env bash
# The long campaigns. Each part that passed leaves a file under evidence/, named by the hash of src/, and is skipped when the
# campaign is started again: so it can be stopped at any time, and goes on where it was. A change of src/ begins anew.
#
#   tests/evidence.sh [SEEDS]     SEEDS: how many seeds in all, 2000 unless given
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-2000}
shard=250
bin=.venv/bin
hash=$(find src -name '*.py' | sort | xargs sha256sum | sha256sum | cut -c1-12)
mkdir -p evidence

part() { # name, then the command
    local done="evidence/$hash-$1.txt"
    if [ -e "$done" ]; then
        echo "$1: done before ($done)"
        return
    fi
    echo "$1: ${*:2}"
    "${@:2}" 2>&1 | tee "$done.unfinished"
    mv "$done.unfinished" "$done"
}

for ((start = 0; start < seeds; start += shard)); do
    count=$((seeds - start < shard ? seeds - start : shard))
    part "seeds-$start-$count" $bin/multipaxos verify seeds --start $start --count $count --jobs 2 --failures failures
done
part mutants $bin/python -m pytest -q tests/sim -k mutant
part storage $bin/python tests/storage/journal_world.py 3
part cluster env MULTIPAXOS_LONG=1 $bin/python -m pytest -q -s tests/cluster
echo "evidence for src $hash is complete: evidence/$hash-*.txt"
