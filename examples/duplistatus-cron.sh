#!/bin/sh
# Keeps duplistatus-cron running where nothing else does, as in a container without an init system.
#
# usage: duplistatus-cron.sh [argument of duplistatus-cron…]
#
# A service that fails is restarted after a pause, which doubles from one second to a minute and starts over once the
# service has run for a minute. TERM and INT end the service and this script; HUP is passed on. The script does not
# restart the service after exit code 0 (it was asked to end) or 2 (the configuration is invalid).
# DUPLISTATUS_CRON names the program, if it is not in the PATH.

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
