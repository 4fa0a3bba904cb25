#!/bin/sh
# Tests of the command line: check.sh WORDFREQ. Ends at the first that fails.
set -eu
cd "$(dirname "$0")"
wordfreq=$1

expect() { # WHAT EXPECTED ACTUAL
    if [ "$2" != "$3" ]; then
        printf 'FAILED: %s\n--- expected\n%s\n--- got\n%s\n' "$1" "$2" "$3"
        exit 1
    fi
    echo "ok: $1"
}

expect 'shows the most frequent words of a file' \
    '      3  the
      2  über' "$("$wordfreq" -n 2 text.txt)"
expect 'leaves out short words' '      2  über' "$("$wordfreq" -n 1 -l 4 text.txt)"
expect 'reads standard input' '      2  a' "$(printf 'a A' | "$wordfreq")"
expect 'adds up several files' '      6  the' "$("$wordfreq" -n 1 text.txt text.txt)"
expect 'shows nothing for nothing' '' "$("$wordfreq" < /dev/null)"

status=0
"$wordfreq" no-such-file 2> /tmp/message || status=$?
expect 'fails for a file that is not there' '1 wordfreq: no-such-file: No such file or directory' \
    "$status $(cat /tmp/message)"
status=0
"$wordfreq" -n many 2> /tmp/message || status=$?
expect 'refuses what is no number' 2 "$status"
