/* Forks without end; the test bounds it by a limit: hostile_forks. */
#include "hostile.h"

int main(void)
{
    begin();
    alarm(20);
    for (long i = 0; i < 2000; i++) {
        pid_t pid = i % 3 == 0 ? vfork() : fork();
        if (pid == 0) {
            if (i % 3 == 0)
                _exit(1);
            probed(i);
            if (i % 2)
                fork();
            _exit((int)(probed(i) & 1));
        }
        probed(i);
        if (i % 50 == 49)
            while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
    }
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return finish(0);
}
