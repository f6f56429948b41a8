Gem::Specification.new do |s|
  s.name = "answer"
  s.version = "1.0"
  s.summary = "a test"
  s.authors = ["t"]
end
