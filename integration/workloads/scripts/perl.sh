mkdir -p /scratch && cd /scratch
while more; do
    equal modules 'a1b2 5' "$(perl -MList::Util=sum -MPOSIX=floor -MData::Dumper -MStorable=dclone -MDigest::SHA=sha256_hex -e '
my %h = (b => 2, a => 1); my $copy = dclone(\%h);
print join("", map { "$_$copy->{$_}" } sort keys %$copy), " ", sum(floor(2.7), 3), "\n"')"
    equal sums "$(sha256sum </usr/bin/env | cut -d' ' -f1)" "$(perl -MDigest::SHA -e 'print Digest::SHA->new(256)->addfile("/usr/bin/env")->hexdigest')"
    equal tests 'ok 1 - right' "$(perl /opt/app/right.t | tail -n 1)"
    equal fork 3 "$(perl -e 'for (1 .. 3) { exit 0 unless fork } my $n = 0; $n++ while wait > 0; print $n')"
done
