/* Overwrites its slots, trampolines and the guard: hostile_overwrites BYTE. */
#include "hostile.h"

int main(int argc, char **argv)
{
    begin();
    int count = find_areas(), memory = open("/proc/self/mem", O_RDWR);
    int byte = argc > 1 ? (int)strtol(argv[1], NULL, 16) : 0;

    for (int i = 0; i < count; i++) {
        size_t size = areas[i].end - areas[i].start;
        char *filled = malloc(size);
        memset(filled, byte, size);
        if (i % 2 == 0 && mprotect(areas[i].start, size, PROT_READ | PROT_WRITE | PROT_EXEC) == 0)
            memcpy(areas[i].start, filled, size);
        else if (pwrite(memory, filled, size, (off_t)areas[i].start) != (ssize_t)size)
            return 9;
    }
    printf("areas %d\n", count);
    fflush(stdout);
    return finish(0);
}
