mkdir -p /scratch && cd /scratch
while more; do
    echo "let () = print_int (6 * 7 + $rounds)" >answer.ml
    ocamlc -o answer answer.ml
    equal bytecode $((42 + rounds)) "$(./answer)"
done
