while more; do
    equal modules 'modules 55 40' "$(perl /opt/app/modules.pl)"
    equal lua 'modules 42.0' "$(lua5.4 /opt/app/modules.lua)"
    equal string 6 "$(perl -MPOSIX=floor -e 'print floor(6.5)')"
    equal do 42 "$(perl -e 'open my $f, "<", \"6 * 7"; print eval <$f>')"
done
