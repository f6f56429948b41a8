/* A program of the image (or not): exits 0 at once. NOTE makes two of them differ. */
const char note[8192] __attribute__((used)) = NOTE;
int main(void) { return 0; }
