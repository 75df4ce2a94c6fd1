/* Forges what a tracer reads: strings without end, return addresses, r_debug and its link map. */
#include "hostile.h"
#include <link.h>

NOINLINE static long taker(const char *text)
{
    __asm__ volatile("" : "+r"(text));
    return (long)text;
}

NOINLINE static void returns_to(void)
{
    __asm__ volatile("" ::: "memory");
}

int main(void)
{
    size_t size = 1 << 24;
    char *text = mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    SHOW(taker);
    SHOW(returns_to);
    begin();
    memset(text, 'x', size + 4096);
    munmap(text + size, 4096);
    taker(text);                /* runs into memory that is not there */
    taker(text + size - 3);
    taker(NULL);
    taker((char *)-1L);
    taker((char *)0x800000000000L);
    /* A list of objects that loops, with names that are none. */
    struct link_map *map = _r_debug.r_map;
    for (; map; map = map->l_next) {
        map->l_name = (char *)8;
        map->l_addr = -1;
        if (!map->l_next) {
            map->l_next = _r_debug.r_map;
            break;
        }
    }
    _r_debug.r_version = -1;
    _r_debug.r_brk = (ElfW(Addr))-1L;
    for (int i = 0; i < 20; i++)
        returns_to();
    /* What stands where a return address should: nothing of the kind. */
    void *stack[512];
    for (int i = 0; i < 512; i++)
        stack[i] = (void *)(0x1111111111111111L * (i % 16));
    __asm__ volatile("" ::"r"(stack) : "memory");
    printf("sum %d\n", 0);
    fflush(stdout);
    for (int i = 0; i < 100; i++)
        outer(i);
    __asm__ volatile("syscall" ::"a"(SYS_exit_group), "D"(0)); /* nothing can be looked up by name any more */
    return 9;
}
