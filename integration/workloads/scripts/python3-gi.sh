export PYTHONDONTWRITEBYTECODE=1
while more; do
    # Its callbacks are code that libffi makes.
    equal callbacks 'ticks 20' "$(/usr/bin/python3 /opt/app/callbacks.py)"
    equal cffi 'sorted 1 2 3' "$(/usr/bin/python3 /opt/app/foreign.py)"
done
