/* Becomes itself anew, COUNT times, each time in the midst of probed calls: hostile_reexecs COUNT. */
#include "hostile.h"

static void *calls(void *unused)
{
    for (;;)
        outer(1);
    return unused;
}

int main(int argc, char **argv)
{
    static char text[32];
    long left = argc > 1 ? atol(argv[1]) : 0;
    char *again[] = {argv[0], text, "more", NULL};
    pthread_t thread;

    if (argc < 3)
        begin();
    if (left == 0)
        return finish(0);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, calls, NULL);
    outer(left);
    snprintf(text, sizeof text, "%ld", left - 1);
    execv("/proc/self/exe", again);
    return 9;
}
