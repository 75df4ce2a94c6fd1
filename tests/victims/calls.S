/* System call instructions, each with the probe point on the `syscall` itself, and what only assembler can do. */

        .text
        /* long raw_call(long number, a, b, c, d): rcx must come back as the address behind the call */
        .globl  raw_call, raw_call_at
        .type   raw_call, @function
raw_call:
        mov     %rdi, %rax
        mov     %rsi, %rdi
        mov     %rdx, %rsi
        mov     %rcx, %rdx
        mov     %r8, %r10
raw_call_at:
        syscall
1:      lea     1b(%rip), %rdx
        cmp     %rcx, %rdx
        jne     wrong
        test    $0x100, %r11d
        jne     wrong
        ret
wrong:  ud2

        /* Makes a thread that shares everything and runs function(argument) on a stack, then ends by itself:
         * long raw_thread(void *stack, void (*function)(void *), void *argument) */
        .globl  raw_thread, raw_thread_at, raw_thread_exit_at
        .type   raw_thread, @function
        .balign 16
raw_thread:
        mov     %rsi, %r8
        mov     %rdx, %r9
        mov     %rdi, %rsi
        mov     $0x50f00, %edi          /* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM: see clone(2) */
        xor     %edx, %edx
        xor     %r10d, %r10d
        mov     $56, %eax
raw_thread_at:
        syscall
        test    %rax, %rax
        jz      1f
        ret
1:      mov     %r9, %rdi
        call    *%r8
        xor     %edi, %edi
        mov     $60, %eax
raw_thread_exit_at:
        syscall
        ud2

        .section .note.GNU-stack, "", @progbits
