"""Rows of the two-byte opcode map 0f and of 3DNow! (0f 0f); `x86_row` explains the notation."""

TWO = """
00./0.m sldt =Mw
00./0.r sldt =Rv
00./1.m str =Mw
00./1.r str =Rv
00./2 lldt Ew !privileged
00./3 ltr Ew !privileged
00./4 verr Ew >z
00./5 verw Ew >z
00.f2./6.o64 lkgs Ew !privileged
01.np./0.m sgdt =Ms
01.66./0.m sgdt =Ms
01.f3./0.m sgdt =Ms
01.f2./0.m sgdt =Ms
01./1.m sidt =Ms
01./2.m lgdt Ms !privileged
01./3.m lidt Ms !privileged
01./4.m smsw =Mw
01./4.r smsw =Rv
01.f3./5.m.w0w1 rstorssp +Mq FAULT >oszapc
01.np./6 lmsw Ew !privileged
01.66./6 lmsw Ew !privileged
01.f3./6 lmsw Ew !privileged
01.f2./6.m lmsw Ew !privileged
01.f2./6.r lmsw Ew !privileged
01./7.m invlpg @M !privileged
01.np./0.r.rm0 enclv Es !enclave
01.np./0.r.rm1 vmcall Es !privileged
01.np./0.r.rm2 vmlaunch Es !privileged
01.np./0.r.rm3 vmresume Es !privileged
01.np./0.r.rm4 vmxoff Es !privileged
01.np./0.r.rm5 pconfig Es !privileged
01.np./0.r.rm6 wrmsrns Es !privileged
01.np./0.r.rm7.o64 pbndkb Es !privileged
01.f3./0.r.rm6.o64 wrmsrlist Es !privileged
01.f2./0.r.rm6.o64 rdmsrlist Es !privileged
01.np./1.r.rm0 monitor Es !privileged
01.np./1.r.rm1 mwait Es !privileged
01.np./1.r.rm2 clac Es !privileged
01.f2./1.r.rm2.o64 erets Es !privileged
01.f3./1.r.rm2.o64 eretu Es !privileged
01.np./1.r.rm3 stac Es !privileged
01.66./1.r.rm4.o64 tdcall Es !privileged
01.66./1.r.rm5.o64 seamret Es !privileged
01.66./1.r.rm6.o64 seamops Es !privileged
01.np./1.r.rm7 encls Es !privileged
01.66./1.r.rm7.o64 seamcall Es !privileged
01.np./2.r.rm0 xgetbv Es $cxd =$axd =$dxd
01.np./2.r.rm1 xsetbv Es !privileged
01.np./2.r.rm4 vmfunc Es $axd $cxd >oszapc FAULT
01.np./2.r.rm5 xend Es FAULT
01.np./2.r.rm6 xtest Es >oszapc FAULT
01.np./2.r.rm7 enclu Es !enclave
01./3.r.rm0 vmrun Es !privileged
01./3.r.rm1 vmmcall Es !privileged
01./3.r.rm2 vmload Es !privileged
01./3.r.rm3 vmsave Es !privileged
01./3.r.rm4 stgi Es !privileged
01./3.r.rm5 clgi Es !privileged
01./3.r.rm6 skinit Es !privileged
01./3.r.rm7 invlpga Es !privileged
01.f3./5.r.rm0 setssbsy Es !privileged
01.f2./5.r.rm0 xsusldtrk Es FAULT
01.f2./5.r.rm1 xresldtrk Es FAULT
01.f3./5.r.rm2 saveprevssp Es <c FAULT
01.f3./5.r.rm4.o64 uiret Es >oszapcdk +$sp FAULT FAR !far-transfer
01.f3./5.r.rm5.o64 testui Es >oszapc FAULT
01.f3./5.r.rm6.o64 clui Es FAULT
01.f3./5.r.rm7.o64 stui Es FAULT
01.np./5.r.rm0 serialize Es
01.np./5.r.rm6 rdpkru Es $cxd =$axd =$dxd FAULT
01.np./5.r.rm7 wrpkru Es $axd $cxd $dxd FAULT
01./7.r.rm0.o64 swapgs Es !privileged
01./7.r.rm1 rdtscp Es =$axd =$cxd =$dxd
01.np./7.r.rm2 monitorx Es $axa $cxd $dxd FAULT
01.f3./7.r.rm2 mcommit Es >oszapc FAULT
01.np./7.r.rm3 mwaitx Es $axd $bxd $cxd FAULT
01./7.r.rm4 clzero Es $axa FAULT
01.np./7.r.rm5 rdpru Es $cxd =$axd =$dxd >oszapc
01.f3./7.r.rm5.o64 rmpquery Es !privileged
01.np./7.r.rm6 invlpgb Es !privileged
01.f3./7.r.rm6.o64 rmpadjust Es !privileged
01.f2./7.r.rm6.o64 rmpupdate Es !privileged
01.np./7.r.rm7 tlbsync Es !privileged
01.f3./7.r.rm7.o64 psmash Es !privileged
01.f2./7.r.rm7 pvalidate Es !privileged
02.m lar ?Gv Mw >z
02.r lar ?Gv Rv >z
03.m lsl ?Gv Mw >z
03.r lsl ?Gv Rv >z
05.o64 syscall =$cxq =$r11 <oszapcditnk SYSCALL !system-call
05.i64 syscall SYSCALL !returns-elsewhere
06 clts !privileged
07 sysret FAR !privileged
08 invd !privileged
09.np wbinvd !privileged
09.66 wbinvd !privileged
09.f2 wbinvd !privileged
09.f3 wbnoinvd !privileged
0b ud2 TRAP !always-faults
0d.m prefetch @M PREFETCH
0d.r reservednop @Ev @Gv FAULT
0e femms X87
1a reservednop @Ev @Gv NOP
10.np movups =Vx Wx
10.66 movupd =Vx Wx
10.f3 movss =Vx Wx
10.f2 movsd =Vx Wx
11.np movups =Wx Vx
11.66 movupd =Wx Vx
11.f3 movss =Wx Vx
11.f2 movsd =Wx Vx
12.np.m movlps =Vx Mq
12.np.r movhlps =Vx Ux
12.66.m movlpd =Vx Mq
12.f3 movsldup =Vx Wx
12.f2 movddup =Vx Wx
13.np.m movlps =Mq Vx
13.66.m movlpd =Mq Vx
14.np unpcklps +Vx Wx
14.66 unpcklpd +Vx Wx
15.np unpckhps +Vx Wx
15.66 unpckhpd +Vx Wx
16.np.m movhps =Vx Mq
16.np.r movlhps =Vx Ux
16.66.m movhpd =Vx Mq
16.f3 movshdup =Vx Wx
17.np.m movhps =Mq Vx
17.66.m movhpd =Mq Vx
18.m prefetch @M PREFETCH
18.r reservednop @Ev @Gv NOP
19 reservednop @Ev @Gv NOP
1b reservednop @Ev @Gv NOP
1c reservednop @Ev @Gv NOP
1d reservednop @Ev @Gv NOP
1e.np reservednop @Ev @Gv NOP
1e.66 reservednop @Ev @Gv NOP
1e.f2 reservednop @Ev @Gv NOP
1e.f3.m reservednop @Ev @Gv NOP
1e.f3./0.r reservednop @Ev @Gv NOP
1e.f3./1.r rdssp ?Ry
1e.f3./2-6.r reservednop @Ev @Gv NOP
1e.f3./7.r.rm2 endbr64 Es NOP
1e.f3./7.r.rm3 endbr32 Es NOP
1e.f3./7.r.rm0-1 reservednop @Ev @Gv NOP
1e.f3./7.r.rm4-7 reservednop @Ev @Gv NOP
1f nop @Ev @Gv NOP
20 mov =Rn Cn MODREG !privileged
21 mov =Rn Dn MODREG !privileged
22 mov Rn =Cn MODREG !privileged
23 mov Rn =Dn MODREG !privileged
28.np movaps =Vx Wx
28.66 movapd =Vx Wx
29.np movaps =Wx Vx
29.66 movapd =Wx Vx
2a.np cvtpi2ps =Vx Qq X87
2a.66 cvtpi2pd =Vx Qq X87
2a.f3 cvtsi2ss =Vx Ey
2a.f2 cvtsi2sd =Vx Ey
2b.np.m movntps =Mx Vx
2b.66.m movntpd =Mx Vx
2b.f3.m movntss =Mx Vx
2b.f2.m movntsd =Mx Vx
2c.np cvttps2pi =Pq Wx X87
2c.66 cvttpd2pi =Pq Wx X87
2c.f3 cvttss2si =Gy Wx
2c.f2 cvttsd2si =Gy Wx
2d.np cvtps2pi =Pq Wx X87
2d.66 cvtpd2pi =Pq Wx X87
2d.f3 cvtss2si =Gy Wx
2d.f2 cvtsd2si =Gy Wx
2e.np ucomiss Vx Wx >zpcosa
2e.66 ucomisd Vx Wx >zpcosa
2f.np comiss Vx Wx >zpcosa
2f.66 comisd Vx Wx >zpcosa
30 wrmsr !privileged
31 rdtsc =$axd =$dxd
32 rdmsr !privileged
33 rdpmc $cxd =$axd =$dxd FAULT
34.o64 sysenter SYSCALL !vendor-dependent
34.i64 sysenter SYSCALL !returns-elsewhere
35 sysexit FAR !privileged
37.np getsec !privileged
40 cmovo ?Gv Ev <o
41 cmovno ?Gv Ev <o
42 cmovb ?Gv Ev <c
43 cmovae ?Gv Ev <c
44 cmove ?Gv Ev <z
45 cmovne ?Gv Ev <z
46 cmovbe ?Gv Ev <cz
47 cmova ?Gv Ev <cz
48 cmovs ?Gv Ev <s
49 cmovns ?Gv Ev <s
4a cmovp ?Gv Ev <p
4b cmovnp ?Gv Ev <p
4c cmovl ?Gv Ev <so
4d cmovge ?Gv Ev <so
4e cmovle ?Gv Ev <zso
4f cmovg ?Gv Ev <zso
50.np.r movmskps =Gy Ux
50.66.r movmskpd =Gy Ux
51.np sqrtps =Vx Wx
51.66 sqrtpd =Vx Wx
51.f3 sqrtss =Vx Wx
51.f2 sqrtsd =Vx Wx
52.np rsqrtps =Vx Wx
52.f3 rsqrtss =Vx Wx
53.np rcpps =Vx Wx
53.f3 rcpss =Vx Wx
54.np andps +Vx Wx
54.66 andpd +Vx Wx
55.np andnps +Vx Wx
55.66 andnpd +Vx Wx
56.np orps +Vx Wx
56.66 orpd +Vx Wx
57.np xorps +Vx Wx
57.66 xorpd +Vx Wx
58.np addps +Vx Wx
58.66 addpd +Vx Wx
58.f3 addss +Vx Wx
58.f2 addsd +Vx Wx
59.np mulps +Vx Wx
59.66 mulpd +Vx Wx
59.f3 mulss +Vx Wx
59.f2 mulsd +Vx Wx
5a.np cvtps2pd =Vx Wx
5a.66 cvtpd2ps =Vx Wx
5a.f3 cvtss2sd =Vx Wx
5a.f2 cvtsd2ss =Vx Wx
5b.np cvtdq2ps =Vx Wx
5b.66 cvtps2dq =Vx Wx
5b.f3 cvttps2dq =Vx Wx
5c.np subps +Vx Wx
5c.66 subpd +Vx Wx
5c.f3 subss +Vx Wx
5c.f2 subsd +Vx Wx
5d.np minps +Vx Wx
5d.66 minpd +Vx Wx
5d.f3 minss +Vx Wx
5d.f2 minsd +Vx Wx
5e.np divps +Vx Wx
5e.66 divpd +Vx Wx
5e.f3 divss +Vx Wx
5e.f2 divsd +Vx Wx
5f.np maxps +Vx Wx
5f.66 maxpd +Vx Wx
5f.f3 maxss +Vx Wx
5f.f2 maxsd +Vx Wx
60.np punpcklbw +Pq Qq X87
60.66 punpcklbw +Vx Wx
61.np punpcklwd +Pq Qq X87
61.66 punpcklwd +Vx Wx
62.np punpckldq +Pq Qq X87
62.66 punpckldq +Vx Wx
63.np packsswb +Pq Qq X87
63.66 packsswb +Vx Wx
64.np pcmpgtb +Pq Qq X87
64.66 pcmpgtb +Vx Wx
65.np pcmpgtw +Pq Qq X87
65.66 pcmpgtw +Vx Wx
66.np pcmpgtd +Pq Qq X87
66.66 pcmpgtd +Vx Wx
67.np packuswb +Pq Qq X87
67.66 packuswb +Vx Wx
68.np punpckhbw +Pq Qq X87
68.66 punpckhbw +Vx Wx
69.np punpckhwd +Pq Qq X87
69.66 punpckhwd +Vx Wx
6a.np punpckhdq +Pq Qq X87
6a.66 punpckhdq +Vx Wx
6b.np packssdw +Pq Qq X87
6b.66 packssdw +Vx Wx
6c.66 punpcklqdq +Vx Wx
6d.66 punpckhqdq +Vx Wx
6e.np movd =Pq Ey X87
6e.66 movd =Vx Ey
6f.np movq =Pq Qq X87
6f.66 movdqa =Vx Wx
6f.f3 movdqu =Vx Wx
70.np pshufw =Pq Qq Ib X87
70.66 pshufd =Vx Wx Ib
70.f3 pshufhw =Vx Wx Ib
70.f2 pshuflw =Vx Wx Ib
71.np./2.r psrlw +Nq Ib X87
71.66./2.r psrlw +Ux Ib
71.np./4.r psraw +Nq Ib X87
71.66./4.r psraw +Ux Ib
71.np./6.r psllw +Nq Ib X87
71.66./6.r psllw +Ux Ib
72.np./2.r psrld +Nq Ib X87
72.66./2.r psrld +Ux Ib
72.np./4.r psrad +Nq Ib X87
72.66./4.r psrad +Ux Ib
72.np./6.r pslld +Nq Ib X87
72.66./6.r pslld +Ux Ib
73.np./2.r psrlq +Nq Ib X87
73.66./2.r psrlq +Ux Ib
73.66./3.r psrldq +Ux Ib
73.np./6.r psllq +Nq Ib X87
73.66./6.r psllq +Ux Ib
73.66./7.r pslldq +Ux Ib
74.np pcmpeqb +Pq Qq X87
74.66 pcmpeqb +Vx Wx
75.np pcmpeqw +Pq Qq X87
75.66 pcmpeqw +Vx Wx
76.np pcmpeqd +Pq Qq X87
76.66 pcmpeqd +Vx Wx
77.np emms X87
78.np vmread =Ey Gy NO66 !privileged
78.66./0.r extrq +Ux Ib Ib
78.f2.r insertq +Vx Ux Ib Ib
79.np vmwrite Gy Ey NO66 !privileged
79.66.r extrq +Vx Ux
79.f2.r insertq +Vx Ux
7c.66 haddpd +Vx Wx
7c.f2 haddps +Vx Wx
7d.66 hsubpd +Vx Wx
7d.f2 hsubps +Vx Wx
7e.np movd =Ey Pq X87
7e.66 movd =Ey Vx
7e.f3 movq =Vx Wx
7f.np movq =Qq Pq X87
7f.66 movdqa =Wx Vx
7f.f3 movdqu =Wx Vx
80 jo Jz <o F64 JCC
81 jno Jz <o F64 JCC
82 jb Jz <c F64 JCC
83 jae Jz <c F64 JCC
84 je Jz <z F64 JCC
85 jne Jz <z F64 JCC
86 jbe Jz <cz F64 JCC
87 ja Jz <cz F64 JCC
88 js Jz <s F64 JCC
89 jns Jz <s F64 JCC
8a jp Jz <p F64 JCC
8b jnp Jz <p F64 JCC
8c jl Jz <so F64 JCC
8d jge Jz <so F64 JCC
8e jle Jz <zso F64 JCC
8f jg Jz <zso F64 JCC
90 seto =Eb <o
91 setno =Eb <o
92 setb =Eb <c
93 setae =Eb <c
94 sete =Eb <z
95 setne =Eb <z
96 setbe =Eb <cz
97 seta =Eb <cz
98 sets =Eb <s
99 setns =Eb <s
9a setp =Eb <p
9b setnp =Eb <p
9c setl =Eb <so
9d setge =Eb <so
9e setle =Eb <zso
9f setg =Eb <zso
a0 push $fs D64 PUSH
a1 pop =$fs D64 POP FAULT
a2 cpuid +$axd =$bxd +$cxd =$dxd
a3 bt Ev Gv >osapc BITOFFSET
a4 shld +Ev Gv Ib ~oszapc
a5 shld +Ev Gv $cxb ~oszapc
a6.f3./0.r montmul Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a6.f3./1.r xsha1 Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a6.f3./2.r xsha256 Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a6.f3./3-4.r xsha512 Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a6.f3./5.r ccs_hash Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a6.f3./6-7.r via_undocumented Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7./0.r xstore Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7.f3./1.r xcryptecb Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7.f3./2.r xcryptcbc Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7.f3./3.r xcryptctr Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7.f3./4.r xcryptcfb Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7.f3./5.r xcryptofb Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7.f3./6.r ccs_encrypt Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a7.f3./7.r xstore Es +$axa +$cxa +$dxa +$bxa +$sia +$dia REP FAULT
a8 push $gs D64 PUSH
a9 pop =$gs D64 POP FAULT
aa rsm FAR !privileged
ab bts +Ev Gv >osapc LOCK BITOFFSET
ac shrd +Ev Gv Ib ~oszapc
ad shrd +Ev Gv $cxb ~oszapc
ae.np./0.m fxsave =Ms X87
ae.np./1.m fxrstor Ms X87
ae.np./2.m ldmxcsr Md
ae.np./3.m stmxcsr =Md
ae.np./4.m xsave +Ms $axd $dxd X87
ae.np./5.m xrstor Ms $axd $dxd X87
ae.np./6.m xsaveopt +Ms $axd $dxd X87
ae.np./7.m clflush @M FAULT
ae.66./6.m clwb @M FAULT
ae.66./7.m clflushopt @M FAULT
ae.f3./4.m ptwrite My UD66
ae.f3./6.m clrssbsy +Mq !privileged
ae.f3./0.r.o64 rdfsbase =Ry
ae.f3./1.r.o64 rdgsbase =Ry
ae.f3./2.r.o64 wrfsbase Ry =$fs_base FAULT
ae.f3./3.r.o64 wrgsbase Ry =$gs_base FAULT
ae.f3./4.r ptwrite Ry UD66
ae.f3./5.r incssp Ry FAULT
ae.np./5.r lfence Es
ae.np./6.r mfence Es
ae.np./7.r sfence Es
ae.66./6.r tpause Rd $axd $dxd >oszapc FAULT
ae.f3./6.r umonitor Ra FAULT
ae.f2./6.r umwait Rd $axd $dxd >oszapc FAULT
af imul +Gv Ev >oszapc
b0 cmpxchg +Eb Gb +$axb >oszapc LOCK
b1 cmpxchg +Ev Gv +$axv >oszapc LOCK
b2.m lss =Gv =$ss Mp FAULT
b3 btr +Ev Gv >osapc LOCK BITOFFSET
b4.m lfs =Gv =$fs Mp FAULT
b5.m lgs =Gv =$gs Mp FAULT
b6 movzx =Gv Eb
b7 movzx =Gv Ew
b8.f3 popcnt =Gv Ev >oszapc
b9 ud1 Gv Ev TRAP !always-faults
ba./4 bt Ev Ib >osapc
ba./5 bts +Ev Ib >osapc LOCK
ba./6 btr +Ev Ib >osapc LOCK
ba./7 btc +Ev Ib >osapc LOCK
bb btc +Ev Gv >osapc LOCK BITOFFSET
bc.np bsf ?Gv Ev >oszapc
bc.66 bsf ?Gv Ev >oszapc
bc.f2 bsf ?Gv Ev >oszapc
bc.f3 tzcnt =Gv Ev >oszapc
bd.np bsr ?Gv Ev >oszapc
bd.66 bsr ?Gv Ev >oszapc
bd.f2 bsr ?Gv Ev >oszapc
bd.f3 lzcnt =Gv Ev >oszapc
be movsx =Gv Eb
bf movsx =Gv Ew
c0 xadd +Eb +Gb >oszapc LOCK
c1 xadd +Ev +Gv >oszapc LOCK
c2.np cmpps +Vx Wx Ib
c2.66 cmppd +Vx Wx Ib
c2.f3 cmpss +Vx Wx Ib
c2.f2 cmpsd +Vx Wx Ib
c3.np.m movnti =My Gy
c4.np.m pinsrw +Pq Mw Ib X87
c4.np.r pinsrw +Pq Rd Ib X87
c4.66.m pinsrw +Vx Mw Ib
c4.66.r pinsrw +Vx Rd Ib
c5.np.r pextrw =Gy Nq Ib X87
c5.66.r pextrw =Gy Ux Ib
c6.np shufps +Vx Wx Ib
c6.66 shufpd +Vx Wx Ib
c7./1.m.w0 cmpxchg8b +Mq ?$axd ?$dxd $bxd $cxd >z LOCK
c7./1.m.w1 cmpxchg16b +Mx ?$axq ?$dxq $bxq $cxq >z LOCK
c7.np./3.m xrstors Ms !privileged
c7.np./4.m xsavec =Ms $axd $dxd X87
c7.np./5.m xsaves =Ms !privileged
c7.np./6.m vmptrld Mq !privileged
c7.np./7.m vmptrst =Mq !privileged
c7.66./6.m vmclear =Mq !privileged
c7.f3./6.m vmxon Mq !privileged
c7.np./6.r rdrand =Rv >oszapc
c7.66./6.r rdrand =Rv >oszapc
c7.f3./6.r.o64 senduipi Rq FAULT
c7.np./7.r rdseed =Rv >oszapc
c7.66./7.r rdseed =Rv >oszapc
c7.f3./7.r rdpid =Rn
c8+r bswap +Zv
d0.66 addsubpd +Vx Wx
d0.f2 addsubps +Vx Wx
d1.np psrlw +Pq Qq X87
d1.66 psrlw +Vx Wx
d2.np psrld +Pq Qq X87
d2.66 psrld +Vx Wx
d3.np psrlq +Pq Qq X87
d3.66 psrlq +Vx Wx
d4.np paddq +Pq Qq X87
d4.66 paddq +Vx Wx
d5.np pmullw +Pq Qq X87
d5.66 pmullw +Vx Wx
d6.66 movq =Wx Vx
d6.f3.r movq2dq =Vx Nq X87
d6.f2.r movdq2q =Pq Ux X87
d7.np.r pmovmskb =Gy Nq X87
d7.66.r pmovmskb =Gy Ux
d8.np psubusb +Pq Qq X87
d8.66 psubusb +Vx Wx
d9.np psubusw +Pq Qq X87
d9.66 psubusw +Vx Wx
da.np pminub +Pq Qq X87
da.66 pminub +Vx Wx
db.np pand +Pq Qq X87
db.66 pand +Vx Wx
dc.np paddusb +Pq Qq X87
dc.66 paddusb +Vx Wx
dd.np paddusw +Pq Qq X87
dd.66 paddusw +Vx Wx
de.np pmaxub +Pq Qq X87
de.66 pmaxub +Vx Wx
df.np pandn +Pq Qq X87
df.66 pandn +Vx Wx
e0.np pavgb +Pq Qq X87
e0.66 pavgb +Vx Wx
e1.np psraw +Pq Qq X87
e1.66 psraw +Vx Wx
e2.np psrad +Pq Qq X87
e2.66 psrad +Vx Wx
e3.np pavgw +Pq Qq X87
e3.66 pavgw +Vx Wx
e4.np pmulhuw +Pq Qq X87
e4.66 pmulhuw +Vx Wx
e5.np pmulhw +Pq Qq X87
e5.66 pmulhw +Vx Wx
e6.66 cvttpd2dq =Vx Wx
e6.f3 cvtdq2pd =Vx Wx
e6.f2 cvtpd2dq =Vx Wx
e7.np.m movntq =Mq Pq X87
e7.66.m movntdq =Mx Vx
e8.np psubsb +Pq Qq X87
e8.66 psubsb +Vx Wx
e9.np psubsw +Pq Qq X87
e9.66 psubsw +Vx Wx
ea.np pminsw +Pq Qq X87
ea.66 pminsw +Vx Wx
eb.np por +Pq Qq X87
eb.66 por +Vx Wx
ec.np paddsb +Pq Qq X87
ec.66 paddsb +Vx Wx
ed.np paddsw +Pq Qq X87
ed.66 paddsw +Vx Wx
ee.np pmaxsw +Pq Qq X87
ee.66 pmaxsw +Vx Wx
ef.np pxor +Pq Qq X87
ef.66 pxor +Vx Wx
f0.f2.m lddqu =Vx Mx
f1.np psllw +Pq Qq X87
f1.66 psllw +Vx Wx
f2.np pslld +Pq Qq X87
f2.66 pslld +Vx Wx
f3.np psllq +Pq Qq X87
f3.66 psllq +Vx Wx
f4.np pmuludq +Pq Qq X87
f4.66 pmuludq +Vx Wx
f5.np pmaddwd +Pq Qq X87
f5.66 pmaddwd +Vx Wx
f6.np psadbw +Pq Qq X87
f6.66 psadbw +Vx Wx
f7.np.r maskmovq Pq Nq $dia MASKSTORE X87
f7.66.r maskmovdqu Vx Ux $dia MASKSTORE
f8.np psubb +Pq Qq X87
f8.66 psubb +Vx Wx
f9.np psubw +Pq Qq X87
f9.66 psubw +Vx Wx
fa.np psubd +Pq Qq X87
fa.66 psubd +Vx Wx
fb.np psubq +Pq Qq X87
fb.66 psubq +Vx Wx
fc.np paddb +Pq Qq X87
fc.66 paddb +Vx Wx
fd.np paddw +Pq Qq X87
fd.66 paddw +Vx Wx
fe.np paddd +Pq Qq X87
fe.66 paddd +Vx Wx
ff ud0 Gv Ev TRAP !always-faults
"""

NOW = """
0f.imm0c pi2fw =Pq Qq Ib X87
0f.imm0d pi2fd =Pq Qq Ib X87
0f.imm1c pf2iw =Pq Qq Ib X87
0f.imm1d pf2id =Pq Qq Ib X87
0f.imm8a pfnacc +Pq Qq Ib X87
0f.imm8e pfpnacc +Pq Qq Ib X87
0f.imm90 pfcmpge +Pq Qq Ib X87
0f.imm94 pfmin +Pq Qq Ib X87
0f.imm96 pfrcp =Pq Qq Ib X87
0f.imm97 pfrsqrt =Pq Qq Ib X87
0f.imm9a pfsub +Pq Qq Ib X87
0f.imm9e pfadd +Pq Qq Ib X87
0f.imma0 pfcmpgt +Pq Qq Ib X87
0f.imma4 pfmax +Pq Qq Ib X87
0f.imma6 pfrcpit1 +Pq Qq Ib X87
0f.imma7 pfrsqit1 +Pq Qq Ib X87
0f.immaa pfsubr +Pq Qq Ib X87
0f.immae pfacc +Pq Qq Ib X87
0f.immb0 pfcmpeq +Pq Qq Ib X87
0f.immb4 pfmul +Pq Qq Ib X87
0f.immb6 pfrcpit2 +Pq Qq Ib X87
0f.immb7 pmulhrw +Pq Qq Ib X87
0f.immbb pswapd =Pq Qq Ib X87
0f.immbf pavgusb +Pq Qq Ib X87
"""
