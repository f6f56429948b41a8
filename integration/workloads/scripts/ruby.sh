mkdir -p /scratch && cd /scratch
while more; do
    equal code '5050 {"a":1}' "$(ruby -rjson -rset -e 'puts "#{(1..100).sum} #{JSON.generate({a: 1})}"')"
    equal Rakefile "rake $rounds" "$(cd /opt/app && N=$rounds rake answer)"
    equal config.ru "ru $rounds" "$(ruby /opt/app/config.ru "$rounds")"
    equal primes 1229 "$(ruby -rprime -e 'puts Prime.each(10000).count')"
    equal gemspec answer "$(ruby -e 'puts Gem::Specification.load("/opt/app/answer.gemspec").name')"
done
