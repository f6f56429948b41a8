mkdir -p /scratch && cd /scratch
library=/opt/app/bin/libanswer.so
while more; do
    cp -a $library $library.new && mv -f $library.new $library
    equal moved 'loaded 42' "$(python3 -B /opt/app/bin/loaded.py)"
    tar -C / -cf image.tar opt/app/bin && tar -C / -xf image.tar
    equal untarred 'loaded 42' "$(python3 -B /opt/app/bin/loaded.py)"
done
