local cjson = require "cjson"
print("modules " .. cjson.decode(cjson.encode({ n = 42 })).n)
