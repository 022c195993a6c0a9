#!/bin/sh
# install.sh [--remove] - copies picosnitch and what belongs to it to /usr/local (PREFIX in the environment changes that), or removes
# it again, but no configuration and no log. Run it as root.
set -eu
# Others than root use the program, the manual pages and the countries.
umask 022
cd "$(dirname "$0")"
prefix=${PREFIX:-/usr/local}
case $prefix in
/*[!A-Za-z0-9/._+@~,:=-]* | [!/]*)
    echo "install.sh: PREFIX must be an absolute path without special characters; it is $prefix" >&2
    exit 2
    ;;
esac
[ "$(id -u)" = 0 ] || {
    echo "install.sh: run it as root: sudo ./install.sh" >&2
    exit 77
}

# What a path of the archive becomes.
place() {
    case $1 in
    etc/*) echo "/$1" ;;
    *) echo "$prefix/$1" ;;
    esac
}

if [ "${1:-}" = --remove ]; then
    if [ -d /run/systemd/system ] && [ -e "$prefix/lib/systemd/system/picosnitch.service" ]; then
        systemctl disable --now picosnitch-dash.service picosnitch-exporter.service picosnitch.service || true
    elif [ -x "$prefix/bin/picosnitch" ]; then
        "$prefix/bin/picosnitch" stop || true
    fi
fi
find bin etc lib share -type f | while read -r file; do
    to=$(place "$file")
    case $file in
    # A configuration stays as it was left.
    etc/*) [ "${1:-}" != --remove ] && [ ! -e "$to" ] || continue ;;
    esac
    if [ "${1:-}" = --remove ]; then
        rm -f "$to"
        continue
    fi
    mkdir -p "${to%/*}"
    # Beside it first, so that a program that runs can be replaced.
    case $file in
    *.service | *.desktop) sed "s|/usr/local/bin/picosnitch|$prefix/bin/picosnitch|g" "$file" >"$to.new" ;;
    *) cp "$file" "$to.new" ;;
    esac
    case $file in
    bin/*) chmod 0755 "$to.new" ;;
    *) chmod 0644 "$to.new" ;;
    esac
    mv "$to.new" "$to"
done
[ "${1:-}" = --remove ] && exit 0
echo "picosnitch is installed in $prefix."
if [ -d /run/systemd/system ]; then
    # It makes the user that writes the log, has systemd read the units, and says how to start.
    exec "$prefix/bin/picosnitch" systemd
fi
# The user that writes the log.
if ! getent passwd picosnitch >/dev/null && command -v useradd >/dev/null; then
    useradd --system --user-group --no-create-home --home-dir /var/lib/picosnitch --shell /usr/sbin/nologin picosnitch
fi
echo "To record: sudo $prefix/bin/picosnitch start"
