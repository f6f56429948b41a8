# Compiles a module of the image, which has no bytecode yet, and uses that.
mkdir -p /scratch && cd /opt/app
while more; do
    rm -rf answer/__pycache__
    equal first "answer $rounds" "$(python3 -m answer "$rounds")"
    equal kept 1 "$(ls answer/__pycache__ | grep -c answer_module)"
    equal second "answer $rounds" "$(python3 -m answer "$rounds")"
done
