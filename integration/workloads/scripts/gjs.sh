export HOME=/tmp
while more; do
    equal primes 'primes 1229' "$(gjs /opt/app/primes.js)"
    equal gio 42 "$(gjs -c 'const {GLib} = imports.gi; const l = new GLib.MainLoop(null, false); let n = 0; GLib.timeout_add(0, 1, () => { n += 6; if (n < 42) return true; l.quit(); return false; }); l.run(); print(n)')"
done
