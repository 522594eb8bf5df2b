#!/bin/sh
# Install the peers that bench/drift.py measures itself against, each into an environment of its own: they agree neither
# on NumPy nor on pandas. A second run keeps what is there. Needs the network and about 2 GB.
#
#   sh bench/peers.sh [python3.11] [directory, by default var/peers]
#
# Two pins are not the peers' own: Evidently 0.7.23 does not import with pandas 3, and NannyML 0.13.1 imports
# statsmodels without requiring it.
set -eu
python=${1:-python3}
root=${2:-"$(dirname "$0")/../var/peers"}

install() {
    name=$1
    shift
    [ -e "$root/$name/.installed" ] && return
    "$python" -m venv "$root/$name"
    "$root/$name/bin/pip" install --quiet "$@"
    touch "$root/$name/.installed"
}

mkdir -p "$root"
install evidently "evidently==0.7.23" "pandas==2.3.3"
install nannyml "nannyml==0.13.1" "statsmodels==0.15.0"
install alibi "alibi-detect==0.13.0"
