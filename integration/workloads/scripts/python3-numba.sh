export PYTHONDONTWRITEBYTECODE=1
while more; do
    equal compiled 'total 299995' "$(/usr/bin/python3 /opt/app/compiled.py)"
done
