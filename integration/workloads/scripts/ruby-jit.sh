export HOME=/tmp
while more; do
    equal interpreted 'primes 1229' "$(ruby /opt/app/primes.rb)"
    equal yjit 'primes 1229' "$(ruby --yjit /opt/app/primes.rb 2>/dev/null || ruby /opt/app/primes.rb)"
    equal fiddle 3 "$(ruby -e 'require "fiddle"; f = Fiddle::Function.new(Fiddle.dlopen(nil)["abs"], [Fiddle::TYPE_INT], Fiddle::TYPE_INT); puts f.call(-3)')"
    equal callback '1 2 3' "$(ruby -e 'require "fiddle/import"
c = Class.new(Fiddle::Closure) { def call(a, b) = a[0, 4].unpack1("i") <=> b[0, 4].unpack1("i") }.new(Fiddle::TYPE_INT, [Fiddle::TYPE_VOIDP, Fiddle::TYPE_VOIDP])
q = Fiddle::Function.new(Fiddle.dlopen(nil)["qsort"], [Fiddle::TYPE_VOIDP, Fiddle::TYPE_SIZE_T, Fiddle::TYPE_SIZE_T, Fiddle::TYPE_VOIDP], Fiddle::TYPE_VOID)
p = Fiddle::Pointer[[3, 1, 2].pack("i*")]; q.call(p, 3, 4, c); puts p[0, 12].unpack("i*").join(" ")')"
done
