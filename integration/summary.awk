# Closes a log of `cargo test` and of integration/fuzz.sh: a line of what passed and failed,
# and a last one of what was not run.
#
# Of a test binary that result counts which is of all the tests it began with: a test that
# runs its binary again, for itself alone, prints others. One that never says its result has
# failed. Not run is each test of a binary that no run of it has a result for, whatever kept
# it: ignored, with the reason that its source gives, or left out by a filter. A test that is
# ignored because it is "run by" others is theirs.
#
# -v notes=FILE: a line for each thing more that was not run, or why not.

BEGIN { begun = -1 }

function binary(name) {
    broken()
    target = name
    begun = -1
    finished = 0
}

# The binary before has begun, and has not said how it ended.
function broken() {
    if (begun >= 0 && !finished) failed++
}

/^ +Running .*\(.*\)$/ {
    name = $NF
    gsub(/^.*\/|-[0-9a-f]*\)$/, "", name)
    binary(name)
}
/^ +Doc-tests / { binary("doc-tests of " $2) }
/^running [0-9]+ tests?$/ && begun < 0 { begun = $2 }
/^test result: / && !finished && begun == $4 + $6 + $8 + $10 {
    finished = 1
    passed += $4
    failed += $6
    all = begun + $12
    if (all > tests[target]) tests[target] = all
}
/^test .* \.\.\. (ok|FAILED)$/ && !((target, name_of($0)) in ran) {
    ran[target, name_of($0)]
    left[target]++
}
/^test .* \.\.\. ignored/ {
    why = $0
    sub(/^.* \.\.\. ignored(, )?/, "", why)
    ignored[target, name_of($0)] = why
}
/^fuzz .* \.\.\. ok/ { passed++ }
/^fuzz .* \.\.\. FAILED/ { failed++ }

function name_of(line) {
    sub(/^test /, "", line)
    sub(/ \.\.\. .*$/, "", line)
    sub(/ - should panic$/, "", line)
    return line
}

# All but the last part of a test's path.
function module(name) {
    return sub(/::[^:]*$/, "::*", name) ? name : name
}

END {
    broken()
    for (key in ignored) {
        split(key, part, SUBSEP)
        if (key in ran) continue
        known[part[1]]++
        why = ignored[key]
        if (why ~ /^run by /) continue
        group = part[1] SUBSEP why
        count[group]++
        if (!((group, module(part[2])) in seen)) {
            seen[group, module(part[2])]
            names[group] = names[group] " " module(part[2])
        }
    }
    for (target in tests) {
        rest = tests[target] - left[target] - known[target]
        if (rest > 0) {
            group = target SUBSEP "filtered out"
            count[group] = rest
        }
    }
    for (group in count) {
        split(group, part, SUBSEP)
        sum += count[group]
        line = line "; " count[group] " of " part[1]
        if (names[group] != "") line = line ":" names[group]
        line = line " (" (part[2] == "" ? "ignored" : part[2]) ")"
    }
    while (notes != "" && (getline note < notes) > 0) if (!(note in told)) {
        told[note]
        line = line "; " note
    }
    printf "%d passed, %d failed\n", passed, failed
    if (line == "") print "not run: nothing, of all that there is"
    else printf "not run: %d tests%s\n", sum, line
}
