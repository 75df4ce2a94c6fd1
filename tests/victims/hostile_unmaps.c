/* Takes the memory away in which its slots are: hostile_unmaps unmap | move | protect | replace. */
#include "hostile.h"

int main(int argc, char **argv)
{
    begin();
    const char *what = argc > 1 ? argv[1] : "";
    int count = find_areas();

    for (int i = 0; i < count; i++) {
        size_t size = areas[i].end - areas[i].start;
        if (!strcmp(what, "unmap"))
            munmap(areas[i].start, size);
        else if (!strcmp(what, "move"))
            mremap(areas[i].start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
                   mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        else if (!strcmp(what, "protect"))
            mprotect(areas[i].start, size, PROT_NONE);
        else if (!strcmp(what, "replace"))
            mmap(areas[i].start, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        else
            return 8;
    }
    printf("areas %d\n", count);
    fflush(stdout);
    return finish(0);
}
