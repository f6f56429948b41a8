answer() { echo "answer $1"; }
