#!/usr/bin/env bash
# Run a command beside a Dask cluster of two "hosts": network namespaces with an address and a host name each, and this
# machine's files.  The scheduler and the command are in one, two workers in the other.  Needs root and iproute2.
#   scripts/two_hosts.sh openood-mm benchmark --suite demo_htad --output-dir results --scheduler tcp://10.77.0.1:8786
set -euo pipefail
one=ood-one-$$ two=ood-two-$$ folder=$(mktemp -d)
end() {
    set +e  # each step, whatever became of the one before; the exit code stays the command's
    for each in $one $two; do
        ip netns pids $each | xargs -r kill -9
        ip netns delete $each
    done
    wait
    rm -r "$folder"
} 2>/dev/null
on() { ip netns exec "$1" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$@"; }
trap end EXIT; ip netns add $one; ip netns add $two
ip link add veth0 netns $one type veth peer name veth0 netns $two
for at in $one:10.77.0.1 $two:10.77.0.2; do
    ip -n ${at%:*} address add ${at#*:}/24 dev veth0
    ip -n ${at%:*} link set lo up; ip -n ${at%:*} link set veth0 up
done
on $one dask scheduler --host 10.77.0.1 --port 8786 --no-dashboard >"$folder/scheduler" 2>&1 &
on $two env DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker tcp://10.77.0.1:8786 --nthreads 1 --nworkers 2 \
    --no-dashboard --local-directory "$folder" >"$folder/workers" 2>&1 &
on $one "$@" || { code=$?; tail -n 20 "$folder"/scheduler "$folder"/workers >&2; exit $code; }
