echo "step $1"
