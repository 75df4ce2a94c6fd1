/* A thread that forks for each byte it reads, and says how its child ended: forks_when_told. */
#include "victim.h"

NOINLINE long probed(long x)
{
    __asm__ volatile("" : "+r"(x));
    return 3 * x + 1;
}

static void *fork_for_each(void *unused)
{
    char c;

    while (read(0, &c, 1) == 1 && c != 'q') {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            int wrong = 0;
            for (long i = 0; i < 3; i++)
                wrong += probed(i) != 3 * i + 1;
            _exit(wrong ? 9 : 21);
        }
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        printf("child %#x\n", status);
        fflush(stdout);
    }
    return unused;
}

int main(void)
{
    pthread_t thread;

    SHOW(probed);
    puts("ready");
    fflush(stdout);
    if (pthread_create(&thread, NULL, fork_for_each, NULL))
        return 2;
    pthread_join(thread, NULL);
    puts("done");
    return 0;
}
