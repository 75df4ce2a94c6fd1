/* A library that is loaded late; its constructor runs before dlopen returns. */
static int calls;
int late(int x);
__attribute__((noinline)) int late(int x) { return x + calls++; }
__attribute__((constructor)) static void early(void) { late(0); }
