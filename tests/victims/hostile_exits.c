/* Ends while threads of it are in slots, and from within one: hostile_exits group | thread | slot. */
#include "hostile.h"

static void *calls(void *unused)
{
    for (;;)
        outer(1);
    return unused;
}

static void *leaves(void *unused)
{
    outer(1);
    syscall(SYS_exit, 0);
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    const char *what = argc > 1 ? argv[1] : "";
    static const unsigned char leave[] = {0xbf, 44, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05};

    begin();
    if (!strcmp(what, "thread")) {
        for (int i = 0; i < 200; i++) {
            pthread_create(&thread, NULL, leaves, NULL);
            pthread_join(thread, NULL);
        }
        return finish(0);
    }
    for (int i = 0; i < 4; i++)
        pthread_create(&thread, NULL, calls, NULL);
    usleep(20000);
    if (!strcmp(what, "slot")) {
        int count = find_areas();
        for (int i = 0; i < count; i++) {
            mprotect(areas[i].start, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
            for (int at = 0; at < 4096; at += 32)
                memcpy(areas[i].start + at, leave, sizeof leave);
        }
        for (;;)
            outer(2);
    }
    _exit(44);
}
