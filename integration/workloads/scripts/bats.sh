export TMPDIR=/scratch && mkdir -p /scratch
while more; do
    equal passed 2 "$(bats --tap /opt/app/check.bats | grep -c ^ok)"
done
