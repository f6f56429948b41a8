puts "ru #{ARGV[0]}"
