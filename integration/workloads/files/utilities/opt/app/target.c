#include <stdio.h>
#include <stdlib.h>
static int twice(int n) { return 2 * n; }
int main(int argc, char **argv) { printf("twice %d\n", twice(argc > 1 ? atoi(argv[1]) : 0)); return 0; }
