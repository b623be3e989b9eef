# SPDX-License-Identifier: MIT
#
# From single runs (program, tool, round, user s, system s, s, KiB) to a row for each program and tool:
#
#     program, tool, s on plain jemalloc, ratio of user time to it with its least and greatest, MiB on plain, ratio of peak memory
#
# Ratios are of runs in the same round; of several, the median counts.

BEGIN {
    FS = OFS = "\t"
}

{
    if (!(($1, $2) in runs))
        order[++pairs] = $1 SUBSEP $2
    runs[$1, $2]++
    if ($3 > rounds)
        rounds = $3
    user[$1, $2, $3] = $4
    memory[$1, $2, $3] = $7
}

# Gathers of an array either values of plain runs, or ratios to them, in sorted[1 .. count], ascending.
function gather(values, program, tool, is_ratio,   round, value, i) {
    count = 0
    for (round = 1; round <= rounds; round++) {
        if (!((program, tool, round) in values) || !((program, "plain", round) in values))
            continue
        value = values[program, "plain", round]
        if (is_ratio)
            value = value > 0 ? values[program, tool, round] / value : 0
        for (i = ++count; i > 1 && sorted[i - 1] > value; i--)
            sorted[i] = sorted[i - 1]
        sorted[i] = value
    }
}

function median() {
    return (sorted[int((count + 1) / 2)] + sorted[int(count / 2) + 1]) / 2
}

END {
    for (p = 1; p <= pairs; p++) {
        split(order[p], names, SUBSEP)
        if (names[2] == "plain")
            continue
        gather(user, names[1], names[2], 0)
        if (count == 0)
            continue
        seconds = median()
        gather(memory, names[1], names[2], 0)
        mebibytes = median() / 1024
        gather(memory, names[1], names[2], 1)
        memory_ratio = median()
        gather(user, names[1], names[2], 1)
        printf "%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.2f\n", names[1], names[2], seconds, median(), sorted[1],
            sorted[count], mebibytes, memory_ratio
    }
}
