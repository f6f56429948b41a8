export PYTHONDONTWRITEBYTECODE=1
mkdir -p /scratch/source && cd /scratch/source
cp /opt/app/target.c /opt/app/library.c .
cat >meson.build <<'END'
project('answer', 'c')
configure_file(output: 'config.h', configuration: {'ANSWER': 42})
shared_library('answer', 'library.c')
executable('target', 'target.c')
END
while more; do
    rm -rf build
    meson setup build >/dev/null
    ninja -C build >/dev/null
    equal built 1 "$(file build/target | grep -c ELF)"
    equal again 'ninja: no work to do.' "$(ninja -C build | tail -n 1)"
done
