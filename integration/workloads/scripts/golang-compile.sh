mkdir -p /scratch/answer && cd /scratch/answer
export GOCACHE=/scratch/cache GOFLAGS=-mod=mod GO111MODULE=on GOPROXY=off CGO_ENABLED=0
echo 'module example.com/answer
go 1.19' >go.mod
while more; do
    echo "package main
import \"fmt\"
func main() { fmt.Println(6 * 7 + $rounds) }" >main.go
    gofmt -l main.go >/dev/null
    go vet ./...
    go build -o answer .
    equal kind 1 "$(readelf -h answer | grep -c 'Type:.*EXEC')"
done
