# A software TPM for a guest, and what the self-test has befall it; to be sourced. Its state
# and its socket are in $work.
tpm=
tpm_device=(-chardev "socket,id=tpm,path=$work/tpm.sock" -tpmdev emulator,id=tpm0,chardev=tpm
    -device tpm-crb,tpmdev=tpm0)

tpm_start() {
    rm -rf "$work/tpm" "$work/tpm.sock"
    mkdir "$work/tpm"
    swtpm socket --tpm2 --tpmstate "dir=$work/tpm" --flags startup-clear \
        --ctrl "type=unixio,path=$work/tpm.sock" &
    tpm=$!
    disown
    for _ in $(seq 100); do [ -S "$work/tpm.sock" ] && break; sleep 0.05; done
}

tpm_end() {
    [ -z "$tpm" ] || kill -KILL "$tpm" 2>/dev/null || true
    tpm=
}

# The guest asks for what befalls its TPM. A driver that has waited for long cancels, and QEMU
# waits for a TPM that is to cancel with all of its processors: so the stop has an end.
tpm_obey() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in
        '# host, stop the TPM'*)
            kill -STOP "$tpm"
            { sleep 10 && kill -CONT "$tpm"; } >/dev/null 2>&1 &
            ;;
        '# host, hold the TPM'*)
            kill -STOP "$tpm"
            { sleep 1.5 && kill -CONT "$tpm"; } >/dev/null 2>&1 &
            ;;
        '# host, wake the TPM'*) kill -CONT "$tpm" ;;
        '# host, kill the TPM'*) kill -KILL "$tpm" ;;
        esac
    done
}
