/* A second static function called `twin`. */
static __attribute__((noinline, noclone, used)) int twin(int x) { __asm__ volatile(""); return x * 5; }
int other_twin(int x);
__attribute__((noinline)) int other_twin(int x) { return twin(x) + 1; }
