import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from wsgiref.simple_server import make_server

loader = SourceFileLoader("app", sys.argv[1])
app = module_from_spec(spec_from_loader("app", loader))
loader.exec_module(app)
make_server("127.0.0.1", int(sys.argv[2]), app.application).serve_forever()
