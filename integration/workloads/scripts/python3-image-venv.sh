while more; do
    equal prefix /opt/venv "$(/opt/venv/bin/python -B -c 'import sys; print(sys.prefix)')"
    equal script "hello $rounds" "$(PYTHONDONTWRITEBYTECODE=1 /opt/venv/bin/hello "$rounds")"
done
