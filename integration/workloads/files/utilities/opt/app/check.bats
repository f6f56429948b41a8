@test "env answers" {
    run /opt/app/start.sh 7
    [ "$output" = "answer 7" ]
}
@test "a file of its own" {
    echo one >"$BATS_TEST_TMPDIR/file"
    [ "$(cat "$BATS_TEST_TMPDIR/file")" = one ]
}
