/* Wants to be traced by itself, its parent and its children, and traces its own: hostile_traces. */
#include "hostile.h"
#include <sys/ptrace.h>

int main(void)
{
    begin();
    int status, failed = ptrace(PTRACE_TRACEME, 0, 0, 0) != 0;

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    pid_t child = fork();
    if (child == 0) {           /* attacks its parent, then lets it trace us */
        probed(1);
        failed = ptrace(PTRACE_SEIZE, getppid(), 0, 0) != 0;
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        probed(2);
        _exit(failed);
    }
    /* Where the child is followed, somebody else takes its stop. */
    for (int i = 0; i < 1000 && waitpid(child, &status, WUNTRACED | WNOHANG) == 0; i++)
        usleep(1000);
    ptrace(PTRACE_CONT, child, 0, 0);
    kill(child, SIGCONT);
    for (int i = 0; i < 1000 && waitpid(child, &status, WNOHANG) == 0; i++) {
        ptrace(PTRACE_CONT, child, 0, 0);
        usleep(1000);
    }
    kill(child, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    printf("failed %d\n", failed);
    return finish(0);
}
