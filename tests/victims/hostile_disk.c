/* Replaces, truncates and scrambles its own file on disk while it runs: hostile_disk. */
#include "hostile.h"

int main(int argc, char **argv)
{
    char junk[4096];

    begin();
    memset(junk, 0x7f, sizeof junk);
    memcpy(junk, "\177ELF\2\1\1", 7);
    for (int i = 0; i < 20; i++) {
        outer(i);
        if (argc) {
            unlink(argv[0]);    /* the running text stays; a new file takes the name */
            int file = open(argv[0], O_CREAT | O_RDWR | O_TRUNC, 0755);
            if (write(file, junk, i * 64) != i * 64)
                return 9;
            close(file);
        }
        if (i == 10) {
            puts("scrambled");
            fflush(stdout);
            wait_for_line();
        }
    }
    return finish(0);
}
