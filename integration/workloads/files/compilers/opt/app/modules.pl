use strict; use warnings; use JSON::XS; use DBI; use POSIX; use Socket; use Digest::SHA qw(sha1_hex); use Time::HiRes; use Storable qw(freeze thaw); use Cache::FastMmap;
my $db = DBI->connect("dbi:SQLite:dbname=:memory:", "", "", { RaiseError => 1 });
$db->do("create table t (n int)"); $db->do("insert into t values (?)", undef, $_) for 1 .. 10;
my ($sum) = $db->selectrow_array("select sum(n) from t");
my $json = decode_json(encode_json({ sum => $sum }));
my $cache = Cache::FastMmap->new(share_file => "/tmp/cache-$$", init_file => 1, cache_size => "64k"); $cache->set(sum => $json->{sum});
print "modules ", $cache->get("sum"), " ", length(sha1_hex("x")), "\n";
