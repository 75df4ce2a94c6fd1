/* Writes its own text, over whatever breakpoints are in it: hostile_text. */
#include "hostile.h"

int main(void)
{
    static char page[4096];
    char *start = (char *)((uintptr_t)probed & -4096L);
    size_t size = 4096;

    memcpy(page, start, size);  /* before any breakpoint */
    begin();
    mprotect(start, size, PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(start, page, size);
    mprotect(start, size, PROT_READ | PROT_EXEC);
    puts("written");
    fflush(stdout);
    wait_for_line();
    return finish(0);
}
