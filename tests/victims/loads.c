/* Loads and unloads libraries with a probed function in them: loads again COUNT LIB | loads other LIB OTHER. */
#include "victim.h"
#include <dlfcn.h>

static long called(const char *path, long x, int keep)
{
    void *library = dlopen(path, RTLD_NOW);
    long (*function)(long) = library ? (long (*)(long))dlsym(library, "lib_probed") : NULL;

    if (!function) {
        printf("%s\n", dlerror());
        exit(9);
    }
    long result = function(x);
    if (keep)
        printf("at %p\n", (void *)function);
    else
        dlclose(library);
    return result;
}

int main(int argc, char **argv)
{
    long sum = 0;

    SHOW(main);
    ready();
    if (argc == 4 && !strcmp(argv[1], "again")) {
        for (long i = 0; i < atol(argv[2]); i++)
            sum += called(argv[3], i, 0);
    } else if (argc == 4 && !strcmp(argv[1], "other")) {
        void *library = dlopen(argv[2], RTLD_NOW);
        printf("at %p\n", dlsym(library, "lib_probed"));
        sum = ((long (*)(long))dlsym(library, "lib_probed"))(100);
        fflush(stdout);
        wait_for_line();
        dlclose(library);
        for (int i = 0; i < 10; i++)
            sum += called(argv[3], 0, i == 9);
    } else
        return 8;
    printf("sum %ld\n", sum);
    puts("loaded");
    fflush(stdout);
    wait_for_line();
    return 0;
}
