/* What every victim shares: it shows its probe points, waits until it is told to go, and reports. */
#ifndef VICTIM_H
#define VICTIM_H

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone, noipa))

/* One line "name address" for each place that the test may probe. */
#define SHOW(name) printf("%s %p\n", #name, (void *)(name))

/* Block until a line comes: the test attaches meanwhile. */
static inline void wait_for_line(void)
{
    char c;
    while (read(0, &c, 1) == 1 && c != '\n')
        ;
}

static inline void ready(void)
{
    puts("ready");
    fflush(stdout);
    wait_for_line();
}

#endif
