#!/bin/sh
# What all the others have compared.  Runs last.
. test/check.sh

read -r captures cut outdated different <<END
$(od -An -v -tu8 -N32 "$LEAKDETECT_CHECK_COUNTS" | tr '\n' ' ')
END
echo "# note: $captures stacks compared, $different different; $cut more were cut; unw_backtrace was out of date $outdated times"
check "at least $UNWIND_CAPTURES stacks were compared" [ "$captures" -ge "$UNWIND_CAPTURES" ]
check "not one difference" [ "$different" -eq 0 ]

exit $failed
