mkdir -p /scratch && cd /scratch
while more; do
    equal script "answer $rounds" "$(ocaml /opt/app/answer.ml "$rounds")"
    equal top 120 "$(echo 'let rec f n = if n < 2 then 1 else n * f (n - 1);; print_int (f 5);;' >t.ml; cat t.ml | ocaml -noprompt -stdin)"
done
