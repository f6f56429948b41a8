mkdir -p /scratch && cd /scratch
while more; do
    rm -rf src && mkdir src && cd src
    echo 'cmake_minimum_required(VERSION 3.20)
project(answer C)
include(CheckSymbolExists)
check_symbol_exists(printf stdio.h HAVE_PRINTF)
add_library(answer SHARED answer.c)
add_executable(prog main.c)
target_link_libraries(prog answer)' >CMakeLists.txt
    echo 'int answer(void) { return 42; }' >answer.c
    echo 'int answer(void); int main(void) { return answer(); }' >main.c
    cmake -S . -B build >/dev/null
    cmake --build build >/dev/null
    equal library 1 "$(readelf -d build/prog | grep -c 'NEEDED.*libanswer.so')"
    equal found 1 "$(grep -c HAVE_PRINTF:INTERNAL=1 build/CMakeCache.txt)"
    cd ..
done
