# What the image's author made: a program with its symbols, a library, a static program, an
# archive that unpacks and runs itself.
cd /opt/app
gcc -g -O0 -o bin/target target.c
gcc -static -o bin/target-static target.c
gcc -shared -fPIC -o bin/libanswer.so library.c
cp bin/target bin/patched
patchelf --set-rpath /opt/app/bin bin/patched
mkdir /tmp/pack && cp start.sh common.sh /tmp/pack/
makeself --quiet /tmp/pack bin/packed.run packed ./start.sh 5 >/dev/null
rm -rf /tmp/pack
cp /usr/bin/env bin/packed-env && gzexe bin/packed-env && rm bin/packed-env~
cat >bin/loaded.py <<'END'
import ctypes, sys
print("loaded", ctypes.CDLL("/opt/app/bin/libanswer.so").answer())
END
ln -s /bin/busybox bin/init
