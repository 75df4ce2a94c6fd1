/* Forks a child, turns into another program, and both ask for their parents until they are killed or alone. */
#include "victim.h"

static int ask(pid_t until)
{
    for (;;) {
        if (getppid() != until)
            return 0;
        usleep(1000);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        puts("another program");
        fflush(stdout);
        return ask(getppid());
    }
    ready();
    pid_t parent = getpid();
    if (fork() == 0)
        return ask(parent);
    execl(argv[0], argv[0], "again", (char *)NULL);
    return 3;
}
