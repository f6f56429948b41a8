run ->(env) { [200, { "content-type" => "text/plain" }, ["rack #{env["PATH_INFO"]}\n"]] }
