export HOME=/tmp PARALLEL_HOME=/tmp
mkdir -p /scratch && : >/tmp/will-cite
while more; do
    equal sum 465 "$(seq 30 | parallel -j 4 --will-cite '/opt/app/start.sh {}' | awk '{n += $2} END {print n}')"
    work() { echo "work $1"; }; export -f work
    equal function "work a,work b" "$(parallel --will-cite -k work ::: a b | paste -sd,)"
    equal pipe 100 "$(seq 100 | parallel --will-cite --pipe -N 10 cat | wc -l)"
    equal ts 1 "$(echo x | ts %s | grep -c ' x$')"
    equal sponge "$rounds" "$(echo "$rounds" | sponge /scratch/file; cat /scratch/file)"
    equal chronic '' "$(chronic /opt/app/start.sh 1)"
done
