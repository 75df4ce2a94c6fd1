/* Forbids that it is looked at, again and again: hostile_undumpable. */
#include "hostile.h"

int main(void)
{
    begin();
    for (int i = 0; i < 50; i++) {
        prctl(PR_SET_DUMPABLE, i % 2);
        outer(i);
    }
    prctl(PR_SET_DUMPABLE, 0);
    puts("undumpable");
    fflush(stdout);
    wait_for_line();
    return finish(0);
}
