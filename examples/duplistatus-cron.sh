#!/bin/sh
# Keeps duplistatus-cron running where nothing else does, as in a container without an init system.
#
# usage: duplistatus-cron.sh [argument of duplistatus-cron…]
#
# A service that ends by a fault is started again, after a pause that doubles from one second to a minute and
# begins anew once the service has lasted a minute. Told to end (TERM, INT), it tells the service and ends with it.
# HUP is passed on. It does not try again what cannot get better: exit code 0 (told to end) or 2 (the declaration
# is no good). DUPLISTATUS_CRON names the program, if it is not in the PATH.

program=${DUPLISTATUS_CRON:-duplistatus-cron}
pause=1
service=
pausing=
ending=

end() {
    ending=yes
    [ -z "$service" ] || kill -TERM "$service" 2>/dev/null
    [ -z "$pausing" ] || kill "$pausing" 2>/dev/null
}
trap end TERM INT
trap '[ -z "$service" ] || kill -HUP "$service" 2>/dev/null' HUP

while :; do
    began=$(date +%s)
    "$program" "$@" &
    service=$!
    # A signal ends the wait, not the service: wait until it is really gone.
    while wait "$service"; code=$?; kill -0 "$service" 2>/dev/null; do :; done
    service=
    if [ -n "$ending" ] || [ "$code" -eq 0 ] || [ "$code" -eq 2 ]; then
        exit "$code"
    fi
    [ $(($(date +%s) - began)) -lt 60 ] || pause=1
    echo "duplistatus-cron ended with code $code; started again in $pause s" >&2
    sleep "$pause" &
    pausing=$!
    wait "$pausing"
    pausing=
    [ -z "$ending" ] || exit 0
    pause=$((pause * 2))
    [ "$pause" -le 60 ] || pause=60
done
