while more; do
    update-alternatives --quiet --install /usr/bin/pick pick /usr/bin/sha1sum 10
    update-alternatives --quiet --install /usr/bin/pick pick /usr/bin/sha256sum 20
    equal automatic 65 "$(pick </dev/null | cut -d' ' -f1 | wc -c)"
    update-alternatives --quiet --set pick /usr/bin/sha1sum
    equal set 41 "$(pick </dev/null | cut -d' ' -f1 | wc -c)"
    update-alternatives --quiet --remove-all pick
done
