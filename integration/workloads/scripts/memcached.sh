memcached -u root -d -s /tmp/memcached.sock -m 64 -t 2
work() {
    perl -e '
use strict; use warnings; use Cache::Memcached;
my $cache = Cache::Memcached->new({servers => ["/tmp/memcached.sock"]});
my $good = 0;
for my $n (1 .. 2000) { $cache->set("key$n", "value $n $ARGV[0]") }
for my $n (1 .. 2000) { $good++ if ($cache->get("key$n") // "") eq "value $n $ARGV[0]" }
$cache->set("count", 0); $cache->incr("count") for 1 .. 50;
print "$good ", $cache->get("count"), "\n"' "$1"
}
until_ready test -S /tmp/memcached.sock
while more; do
    equal 'values and counter' '2000 50' "$(work "$rounds")"
done
