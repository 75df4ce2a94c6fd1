/* Opens the library named by its argument when it reads a line, and calls its function `late`. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    char line[16];
    puts("ready");
    fflush(stdout);
    while (argc > 1 && fgets(line, sizeof line, stdin)) {
        void *library = dlopen(argv[1], RTLD_NOW);
        int (*late)(int) = library ? (int (*)(int))dlsym(library, "late") : NULL;
        if (!late)
            return 1;
        for (int i = 0; i < 100; i++)
            late(i);
    }
    return 7;
}
