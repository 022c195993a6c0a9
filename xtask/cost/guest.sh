# Runs in the guest of `cargo xtask cost`: the load without the daemon, then with it.
#
#     guest.sh DIRECTORY
#
# DIRECTORY has the program `load` and receives the output.
set -eu
answers=$1
load=/usr/local/bin/load
group=/sys/fs/cgroup/cost
log=$answers/picosnitch.log

# On a disk of the guest: picosnitch treats programs on network file systems in another way.
cp "$answers/load" "$load"
"$load" >"$answers/without"

mkdir "$group"
sh -c 'echo $$ >"$0/cgroup.procs"; exec picosnitch start-no-daemon --base-dir /tmp/cost' "$group" 2>"$log" &
daemon=$!
tries=0
until grep -qs ': recording$' "$log"; do
	if ! kill -0 "$daemon" 2>/dev/null || [ "$tries" -ge 2400 ]; then
		cat "$log" >&2
		echo "cost: picosnitch does not record" >&2
		exit 1
	fi
	tries=$((tries + 1))
	sleep 0.05
done
# Three and a half windows: what the daemon finds at its start, programs to hash, is no part of the load's cost, and no
# repetition begins or ends together with a window.
sleep 35
"$load" "$group/cpu.stat" >"$answers/with"
kill "$daemon"
wait "$daemon"
# Lost events, for example, would make the daemon look cheaper than it is.
if [ -s /tmp/cost/error.log ]; then
	echo "cost: picosnitch has reported:" >&2
	cat /tmp/cost/error.log >&2
	exit 1
fi
uname -r >"$answers/kernel"
