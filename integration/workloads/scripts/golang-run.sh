mkdir -p /scratch/answer && cd /scratch/answer
export GOCACHE=/scratch/cache GOTMPDIR=/scratch GO111MODULE=on GOPROXY=off CGO_ENABLED=0
echo 'module example.com/answer
go 1.19' >go.mod
while more; do
    echo "package main
import \"fmt\"
func main() { fmt.Println(6 * 7 + $rounds) }" >main.go
    equal answer $((42 + rounds)) "$(go run .)"
done
