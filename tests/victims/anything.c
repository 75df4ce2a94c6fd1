/* Does what it is told, a line for each, and counts its calls of every function: anything LIBRARY.
 *
 * `begin LETTERS` starts what the letters stand for, `end` ends it and tells the calls since: of each function, those
 * of this process's memory and those of forked children. `exec` begins anew, `quit` ends.
 */
#include "victim.h"
#include <dlfcn.h>
#include <setjmp.h>

extern long plain(long), ripped(long), outer(long), tailing(long), escaping(long);
extern volatile long escaping_calls;

__asm__(".globl plain\n.type plain, @function\n.balign 16\n"
        "plain: push %rbp\n mov %rsp, %rbp\n lea 1(%rdi,%rdi,2), %rax\n pop %rbp\n ret\n"
        ".size plain, . - plain\n"
        ".globl ripped\n.type ripped, @function\n.balign 16\n"
        "ripped: mov seven(%rip), %rax\n add %rdi, %rax\n ret\n.size ripped, . - ripped\n"
        ".globl outer\n.type outer, @function\n.balign 16\n"
        "outer: sub $8, %rsp\n call plain\n add $8, %rsp\n ret\n.size outer, . - outer\n"
        ".globl tailing\n.type tailing, @function\n.balign 16\n"
        "tailing: lea 1(%rdi), %rdi\n jmp plain\n.size tailing, . - tailing\n"
        /* Counts itself by the very instruction that is probed. */
        ".globl escaping\n.type escaping, @function\n.balign 16\n"
        "escaping: lock incq escaping_calls(%rip)\n mov $2000, %ecx\n1: dec %ecx\n jnz 1b\n mov $11, %eax\n ret\n"
        ".size escaping, . - escaping\n"
        ".data\n.balign 8\nseven: .quad 7\n.globl escaping_calls\nescaping_calls: .quad 0\n.text\n");

enum { PLAIN, RIPPED, OUTER, TAILING, DEEP, LEAVING, LIBRARY, FUNCTIONS };
enum { WORKERS = 3, MOST = 16 };

static const char *const names[FUNCTIONS] = {"plain", "ripped", "outer", "tailing", "deep", "leaving", "lib_probed"};
static long (*counts)[FUNCTIONS];       /* shared with children: ours, theirs */
static int row;
static volatile int stopping;
static volatile long wrong, escapes;
static const char *library;
static __thread sigjmp_buf way_out;
static __thread volatile int may_escape;

NOINLINE long deep(long n)
{
    long below = n ? deep(n - 1) : 0;
    __asm__ volatile("" : "+r"(below));
    return below + n;
}

static __thread jmp_buf out;

NOINLINE long leaving(long x)
{
    __asm__ volatile("" : "+r"(x));
    if (x & 1)
        longjmp(out, 1);
    return x + 2;
}

static void expect(int function, long calls, int right)
{
    __atomic_add_fetch(&counts[row][function], calls, __ATOMIC_RELAXED);
    if (!right)
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
}

static void call_plain(long i)
{
    expect(PLAIN, 1, plain(i) == 3 * i + 1);
}

static void call_all(long i)
{
    call_plain(i);
    expect(RIPPED, 1, ripped(i) == i + 7);
    expect(OUTER, 1, outer(i) == 3 * i + 1);
    expect(PLAIN, 1, 1);
    expect(TAILING, 1, tailing(i) == 3 * i + 4);
    expect(PLAIN, 1, 1);
    expect(DEEP, 6, deep(5) == 15);
    if (setjmp(out))
        expect(LEAVING, 1, i & 1);
    else {
        long value = leaving(i);
        expect(LEAVING, 1, value == i + 2 && !(i & 1));
    }
}

static void *work(void *unused)
{
    for (long i = 0; !stopping; i++) {
        call_all(i);
        usleep(300);
    }
    return unused;
}

static void *short_life(void *unused)
{
    for (long i = 0; i < 3; i++)
        call_plain(i);
    return unused;
}

static void *give_birth(void *unused)
{
    pthread_t thread;

    while (!stopping) {
        if (pthread_create(&thread, NULL, short_life, NULL))
            exit(3);
        pthread_join(thread, NULL);
        usleep(400);
    }
    return unused;
}

static int ended(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void *fork_all_the_time(void *unused)
{
    while (!stopping) {
        pid_t pid = fork();
        if (pid == 0) {
            row = 1; wrong = 0;
            for (long i = 0; i < 3; i++)
                call_all(i);
            _exit(wrong ? 99 : 21);
        }
        call_plain(1);
        if (ended(pid) != 21)
            wrong++;
        usleep(3000);
    }
    return unused;
}

static void *vfork_all_the_time(void *unused)
{
    char *again[] = {"anything", "child", NULL};

    for (volatile long i = 0; !stopping; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            call_plain(4);
            if (i & 1)
                execv("/proc/self/exe", again);
            _exit(22);
        }
        if (ended(pid) != 22)
            wrong++;
        call_plain(2);
        usleep(5000);
    }
    return unused;
}

static void *load_all_the_time(void *unused)
{
    while (!stopping) {
        void *object = dlopen(library, RTLD_NOW);
        long (*function)(long) = object ? (long (*)(long))dlsym(object, "lib_probed") : NULL;
        if (!function)
            exit(4);
        expect(LIBRARY, 1, function(3) == 4);
        dlclose(object);
        usleep(4000);
    }
    return unused;
}

static void escape(int number)
{
    (void)number;
    if (may_escape) {
        may_escape = 0;         /* the next signal may come before the jump, on top of this one */
        escapes++;
        siglongjmp(way_out, 1);
    }
}

static volatile int escaper_gone;

static void *escape_all_the_time(void *unused)
{
    char stack[32768];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack}, none = {.ss_flags = SS_DISABLE};

    sigaltstack(&other, NULL);
    while (!stopping) {
        if (!sigsetjmp(way_out, 1)) {
            may_escape = 1;
            for (int i = 0; i < 200; i++)
                if (escaping(i) != 11)
                    wrong++;
        }
        may_escape = 0;
        usleep(100);
    }
    while (!escaper_gone)
        usleep(1000);
    sigaltstack(&none, NULL);
    return unused;
}

static pthread_t thread[MOST], sender;

static void *disturb(void *whom)
{
    unsigned seed = 1;

    while (!stopping) {
        pthread_kill(*(pthread_t *)whom, SIGUSR1);
        usleep(rand_r(&seed) % 3000);
    }
    escaper_gone = 1;
    return NULL;
}

static void set_timer(long microseconds)
{
    struct itimerval once = {{0, 0}, {0, microseconds}};

    setitimer(ITIMER_REAL, &once, NULL);
}

static void on_timer(int number)
{
    int kept = errno;

    (void)number;
    call_plain(9);
    if (!stopping)
        set_timer(1900);
    errno = kept;
}

static void *calls_in(char letter)
{
    switch (letter) {
    case 'w': return work;
    case 'b': return give_birth;
    case 'f': return fork_all_the_time;
    case 'v': return vfork_all_the_time;
    case 'l': return load_all_the_time;
    case 'e': return escape_all_the_time;
    default: exit(6);
    }
}

static int begin(const char *letters)
{
    int threads = 0, disturbed = 0;

    stopping = escaper_gone = 0;
    for (; *letters; letters++) {
        if (*letters == 's') {
            set_timer(1000);
            continue;
        }
        for (int i = 0; i < (*letters == 'w' ? WORKERS : 1); i++)
            if (pthread_create(&thread[threads++], NULL, calls_in(*letters), NULL))
                exit(5);
        if (*letters == 'e') {
            disturbed = threads;
            pthread_create(&sender, NULL, disturb, &thread[threads - 1]);
        }
    }
    puts("begun");
    fflush(stdout);
    return disturbed ? -threads : threads;
}

static void end(int threads)
{
    stopping = 1;
    if (threads < 0) {
        pthread_join(sender, NULL);
        threads = -threads;
    }
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    set_timer(0);
    for (int i = 0; i < FUNCTIONS; i++) {
        printf("%s %ld %ld\n", names[i], counts[0][i], counts[1][i]);
        counts[0][i] = counts[1][i] = 0;
    }
    printf("escaping %ld 0\nescapes %ld 0\nwrong %ld 0\nended\n", escaping_calls, escapes, wrong);
    fflush(stdout);
    escaping_calls = escapes = 0;
}

int main(int argc, char **argv)
{
    struct sigaction timer = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    struct sigaction escaper = {.sa_handler = escape, .sa_flags = SA_ONSTACK | SA_RESTART};
    char line[64];
    int threads = 0;

    sigaddset(&timer.sa_mask, SIGUSR1);         /* or it escapes between a call and its count */

    if (argc > 1 && !strcmp(argv[1], "child"))
        return 22;
    if (argc < 2)
        return 2;
    library = argv[1];
    counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sigaction(SIGALRM, &timer, NULL);
    sigaction(SIGUSR1, &escaper, NULL);
    setvbuf(stdin, NULL, _IONBF, 0);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int length = 0;
        char c = 0;
        while (length < 63) {
            ssize_t got = read(0, &c, 1);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return 7;
            if (c == '\n')
                break;
            line[length++] = c;
        }
        line[length] = 0;
        if (!strncmp(line, "begin ", 6))
            threads = begin(line + 6);
        else if (!strcmp(line, "end"))
            end(threads);
        else if (!strcmp(line, "exec"))
            execv("/proc/self/exe", argv);
        else if (!strcmp(line, "quit"))
            return wrong != 0;
    }
}
