# What the image's author made: an archive of Python's, an environment with a package in it.
cd /opt/app
python3 -c 'import zipfile; zipfile.ZipFile("app.zip", "w").write("python-step", "__main__.py")'
python3 -m venv --system-site-packages /opt/venv
mkdir -p /tmp/hello/hello
echo 'from setuptools import setup; setup(name="hello", version="1.0", packages=["hello"], entry_points={"console_scripts": ["hello=hello:main"]})' >/tmp/hello/setup.py
echo 'import sys
def main(): print("hello", sys.argv[1])' >/tmp/hello/hello/__init__.py
/opt/venv/bin/pip -q install --no-index --no-build-isolation --no-deps /tmp/hello
rm -rf /tmp/hello
