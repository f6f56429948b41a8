bin=/usr/lib/postgresql/15/bin
mkdir -p /scratch && chown postgres /scratch && cd /scratch
as() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
as $bin/initdb -D /scratch/data --no-sync -A trust >/dev/null
as $bin/pg_ctl -D /scratch/data -l /scratch/log -w -o '-k /scratch -h "" -c fsync=off' start >/dev/null
sql() { as psql -h /scratch -qAt -c "$*" postgres; }
sql 'create extension plperl; create extension plpython3u; create extension pgcrypto; create extension hstore; create extension pg_trgm; create extension citext'
sql 'create function perl(n int) returns int language plperl as $$ my $n = shift; return $n * 2; $$;
create function py(n int) returns int language plpython3u as $$
import json
return json.loads("[%d]" % (n * 3))[0]
$$'
while more; do
    equal plperl $((rounds * 2)) "$(sql "select perl($rounds)")"
    equal plpython $((rounds * 3)) "$(sql "select py($rounds)")"
    equal pgcrypto t "$(sql "select crypt('x', h) = h from (select crypt('x', gen_salt('bf', 4)) h) t")"
    equal hstore 1 "$(sql "select 'a=>1'::hstore -> 'a'")"
    equal loaded '' "$(sql "load 'auto_explain'")"
done
as $bin/pg_ctl -D /scratch/data -m fast -w stop >/dev/null
