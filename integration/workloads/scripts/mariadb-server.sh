mkdir -p /scratch /run/mysqld && chown mysql /scratch /run/mysqld
mariadb-install-db --user=mysql --datadir=/scratch/data --skip-test-db >/dev/null 2>&1
mariadbd --user=mysql --datadir=/scratch/data --socket=/scratch/sock --skip-networking --pid-file=/scratch/pid \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M >/scratch/log 2>&1 &
sql() { mariadb -S /scratch/sock -N -B -e "$1" "${2:-}"; }
until_ready mariadb-admin -S /scratch/sock ping
sql 'create database work'
while more; do
    sql 'drop table if exists t; create table t (id int auto_increment primary key, n int, s varchar(50), key (n));
insert into t (n, s) select seq, concat("row ", seq) from seq_1_to_5000' work
    equal rows 5000 "$(sql 'select count(*) from t' work)"
    equal sum 12502500 "$(sql 'select sum(n) from t' work)"
    sql 'delimiter //
create or replace procedure grow(c int) begin while c > 0 do update t set n = n + 1 where id = c; set c = c - 1; end while; end //
delimiter ;
call grow(200)' work
    equal grown 12502700 "$(sql 'select sum(n) from t' work)"
    equal dumped 1 "$(mariadb-dump -S /scratch/sock work t | grep -c 'CREATE TABLE')"
done
mariadb-admin -S /scratch/sock shutdown
wait
