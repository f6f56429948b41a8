bin=/usr/lib/postgresql/15/bin
mkdir -p /scratch && chown postgres /scratch && cd /scratch
as() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
as $bin/initdb -D /scratch/data --no-sync -A trust >/dev/null
as $bin/pg_ctl -D /scratch/data -l /scratch/log -w -o '-k /scratch -h "" -c fsync=off -c autovacuum_naptime=5s' start >/dev/null
sql() { as psql -h /scratch -qAt -c "$*" postgres; }
as $bin/pgbench -h /scratch -q -i -s 1 postgres 2>/dev/null
while more; do
    as $bin/pgbench -h /scratch -c 2 -j 2 -T 1 postgres >/dev/null 2>&1
    equal accounts 100000 "$(sql 'select count(*) from pgbench_accounts')"
    equal balances t "$(sql 'select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)')"
    # Compiled by LLVM, whatever it costs.
    sql 'explain (analyze) select 1' >/dev/null
    equal JIT t "$(as psql -h /scratch -qAt postgres <<'END' | grep -c 'JIT:' | sed 's/^[1-9].*/t/'
set jit = on; set jit_above_cost = 0; set jit_inline_above_cost = 0; set jit_optimize_above_cost = 0;
explain (analyze) select sum(aid * 2 + bid) from pgbench_accounts where aid % 7 = 3;
END
)"
    equal 'COPY PROGRAM' 45 "$(as psql -h /scratch -qAt postgres <<'END'
create temp table t (n int);
copy t from program 'seq 9';
select sum(n) from t;
END
)"
    equal plpgsql 55 "$(sql 'do $$ begin null; end $$; select sum(n) from generate_series(1, 10) n')"
done
as $bin/pg_ctl -D /scratch/data -m fast -w stop >/dev/null
