while more; do
    equal lua 'lua 120' "$(lua5.4 -e 'local function f(n) return n < 2 and 1 or n * f(n - 1) end; print("lua " .. f(5))')"
    equal script "answer $rounds" "$(lua5.4 /opt/app/answer.lua "$rounds")"
done
