/* Runs a program under a seccomp filter: sealing FILTER PROGRAM ARGUMENT… */
#include "victim.h"
#include "filters.h"

int main(int argc, char **argv)
{
    if (argc < 3)
        return 8;
    if (put_filter(argv[1], 0))
        return 9;
    execv(argv[2], argv + 2);
    return 9;
}
