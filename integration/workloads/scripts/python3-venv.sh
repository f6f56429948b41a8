mkdir -p /scratch && cd /scratch
while more; do
    rm -rf venv pkg
    mkdir -p pkg/hello
    echo 'from setuptools import setup; setup(name="hello", version="1.0", packages=["hello"], entry_points={"console_scripts": ["hello=hello:main"]})' >pkg/setup.py
    echo "def main(): print('hello $rounds')" >pkg/hello/__init__.py
    # Without an index: what pip needs is in the image.
    python3 -m venv --system-site-packages venv
    venv/bin/pip -q --disable-pip-version-check install --no-index --no-build-isolation --no-deps ./pkg >/dev/null 2>&1
    equal script "hello $rounds" "$(venv/bin/hello)"
    equal module "hello $rounds" "$(venv/bin/python -c 'import hello; hello.main()')"
done
