/* Has code in unusual memory: writable, mapped shared, cut off by the end of a mapping, never written. */
#include "victim.h"
#include <fcntl.h>

int main(void)
{
    static const unsigned char code[] = {0x48, 0x8d, 0x44, 0x7f, 0x01, 0xc3}; /* lea 1(%rdi,%rdi,2), %rax; ret */
    char path[] = "/tmp/victim-XXXXXX";
    int file = mkstemp(path);
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *writable = mmap(NULL, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *at_the_edge = pages + 4096 - sizeof code, *cut_off = pages + 8192 - 2;
    long (*function)(long);

    unlink(path);
    if (write(file, code, sizeof code) != sizeof code)
        return 9;
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED || writable == MAP_FAILED)
        return 9;
    memcpy(writable, code, sizeof code);
    memcpy(at_the_edge, code, sizeof code);
    memcpy(cut_off, code, 2);
    mprotect(pages, 8192, PROT_READ | PROT_EXEC);
    SHOW(writable);
    SHOW(shared);
    SHOW(at_the_edge);
    /* Pages of zeros that nobody has written: the kernel shows the same one everywhere. */
    char *zeros = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ftruncate(file, 3 * 4096))
        return 9;
    char *hole = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 4096);
    if (zeros == MAP_FAILED || hole == MAP_FAILED || zeros[0] || zeros[4096] || hole[0] || hole[4096])
        return 9;
    SHOW(cut_off);
    SHOW(zeros);
    SHOW(hole);
    ready();
    for (int i = 0; i < 10; i++) {
        char *each[] = {writable, shared, at_the_edge};
        for (int k = 0; k < 3; k++) {
            memcpy(&function, &each[k], sizeof function);
            if (function(i) != 3 * i + 1)
                return 5;
        }
    }
    for (int i = 0; i < 8192; i++)
        if (zeros[i] || hole[i])
            return 6;
    return 0;
}
