# What an update does that brings nothing new: the same content, in a new file, at its place.
mkdir -p /scratch && cd /scratch
again() { cp -a "$1" "$1.new" && mv -f "$1.new" "$1"; }
while more; do
    again /opt/app/start.sh
    equal script "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    again /opt/app/common.sh
    equal sourced "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    again /opt/app/bin/target
    equal program "twice $((2 * rounds))" "$(/opt/app/bin/target "$rounds")"
    tar -C / -cf image.tar opt/app/bin && tar -C / -xf image.tar
    equal untarred "twice 4" "$(/opt/app/bin/target 2)"
    rsync -a --ignore-times --checksum /opt/app/ copy/ && rsync -a --ignore-times copy/ /opt/app/
    equal synced "twice 4" "$(/opt/app/bin/target 2)"
    equal synced "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    sed -i s/answer/answer/ /opt/app/start.sh
    equal edited "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    install -m 755 copy/bin/target /opt/app/bin/target
    equal installed "twice 4" "$(/opt/app/bin/target 2)"
    cat copy/bin/target >/opt/app/bin/target
    equal rewritten "twice 4" "$(/opt/app/bin/target 2)"
done
