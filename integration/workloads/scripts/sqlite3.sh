mkdir -p /scratch && cd /scratch
while more; do
    rm -f db
    equal sum 500500 "$(sqlite3 db 'create table t (n); with recursive s(n) as (select 1 union all select n + 1 from s where n < 1000) insert into t select n from s; select sum(n) from t')"
    equal check ok "$(sqlite3 db 'pragma integrity_check')"
    equal json 7 "$(sqlite3 db "select json_extract('{\"a\": 7}', '\$.a')")"
done
