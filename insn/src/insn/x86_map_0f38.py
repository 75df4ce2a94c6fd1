"""Rows of the three-byte opcode maps 0f 38 and 0f 3a. The notation is explained in `x86_row`."""

THREE_38 = """
00.np pshufb +Pq Qq
00.66 pshufb +Vx Wx
01.np phaddw +Pq Qq
01.66 phaddw +Vx Wx
02.np phaddd +Pq Qq
02.66 phaddd +Vx Wx
03.np phaddsw +Pq Qq
03.66 phaddsw +Vx Wx
04.np pmaddubsw +Pq Qq
04.66 pmaddubsw +Vx Wx
05.np phsubw +Pq Qq
05.66 phsubw +Vx Wx
06.np phsubd +Pq Qq
06.66 phsubd +Vx Wx
07.np phsubsw +Pq Qq
07.66 phsubsw +Vx Wx
08.np psignb +Pq Qq
08.66 psignb +Vx Wx
09.np psignw +Pq Qq
09.66 psignw +Vx Wx
0a.np psignd +Pq Qq
0a.66 psignd +Vx Wx
0b.np pmulhrsw +Pq Qq
0b.66 pmulhrsw +Vx Wx
10.66 pblendvb +Vx Wx $xmm0
14.66 blendvps +Vx Wx $xmm0
15.66 blendvpd +Vx Wx $xmm0
17.66 ptest Vx Wx >oszapc
1c.np pabsb =Pq Qq
1c.66 pabsb =Vx Wx
1d.np pabsw =Pq Qq
1d.66 pabsw =Vx Wx
1e.np pabsd =Pq Qq
1e.66 pabsd =Vx Wx
20.66 pmovsxbw =Vx Wx
21.66 pmovsxbd =Vx Wx
22.66 pmovsxbq =Vx Wx
23.66 pmovsxwd =Vx Wx
24.66 pmovsxwq =Vx Wx
25.66 pmovsxdq =Vx Wx
28.66 pmuldq +Vx Wx
29.66 pcmpeqq +Vx Wx
2a.66.m movntdqa =Vx Mx
2b.66 packusdw +Vx Wx
30.66 pmovzxbw =Vx Wx
31.66 pmovzxbd =Vx Wx
32.66 pmovzxbq =Vx Wx
33.66 pmovzxwd =Vx Wx
34.66 pmovzxwq =Vx Wx
35.66 pmovzxdq =Vx Wx
37.66 pcmpgtq +Vx Wx
38.66 pminsb +Vx Wx
39.66 pminsd +Vx Wx
3a.66 pminuw +Vx Wx
3b.66 pminud +Vx Wx
3c.66 pmaxsb +Vx Wx
3d.66 pmaxsd +Vx Wx
3e.66 pmaxuw +Vx Wx
3f.66 pmaxud +Vx Wx
40.66 pmulld +Vx Wx
41.66 phminposuw =Vx Wx
80.66.m invept Ga Mx >oszapc !privileged
81.66.m invvpid Ga Mx >oszapc !privileged
82.66.m invpcid Ga Mx !privileged
c8.np sha1nexte +Vx Wx
c9.np sha1msg1 +Vx Wx
ca.np sha1msg2 +Vx Wx
cb.np sha256rnds2 +Vx Wx $xmm0
cc.np sha256msg1 +Vx Wx
cd.np sha256msg2 +Vx Wx
cf.66 gf2p8mulb +Vx Wx
d8.f3./0.m aesencwide128kl Mx +$xmm0 +$xmm1 +$xmm2 +$xmm3 +$xmm4 +$xmm5 +$xmm6 +$xmm7 >oszapc
d8.f3./1.m aesdecwide128kl Mx +$xmm0 +$xmm1 +$xmm2 +$xmm3 +$xmm4 +$xmm5 +$xmm6 +$xmm7 >oszapc
d8.f3./2.m aesencwide256kl Mx +$xmm0 +$xmm1 +$xmm2 +$xmm3 +$xmm4 +$xmm5 +$xmm6 +$xmm7 >oszapc
d8.f3./3.m aesdecwide256kl Mx +$xmm0 +$xmm1 +$xmm2 +$xmm3 +$xmm4 +$xmm5 +$xmm6 +$xmm7 >oszapc
db.66 aesimc =Vx Wx
dc.66 aesenc +Vx Wx
dc.f3.r loadiwkey Vx Ux $axd $xmm0 >oszapc !privileged
dc.f3.m aesenc128kl +Vx Mx >oszapc
dd.66 aesenclast +Vx Wx
dd.f3.m aesdec128kl +Vx Mx >oszapc
de.66 aesdec +Vx Wx
de.f3.m aesenc256kl +Vx Mx >oszapc
df.66 aesdeclast +Vx Wx
df.f3.m aesdec256kl +Vx Mx >oszapc
f0.np.m movbe =Gv Mv
f0.66.m movbe =Gv Mv
f0.f2 crc32 +Gy Eb
f1.np.m movbe =Mv Gv
f1.66.m movbe =Mv Gv
f1.f2 crc32 +Gy Ev
f5.66.m wrussd|wrussd|wrussq =Mx Gy !privileged
f6.np.m wrssd|wrssd|wrssq =Mx Gy
f6.66 adcx +Gy Ey >c <c
f6.f3 adox +Gy Ey >o <o
f8.66.m movdir64b Ga Mx
f8.f3.m enqcmds Ga Mx >oszapc !privileged
f8.f2.m enqcmd Ga Mx >oszapc
f9.np.m movdiri =Mx Gy
fa.f3.r encodekey128 =Gd Rd =$xmm1 =$xmm2 +$xmm0 =$xmm4 =$xmm5 =$xmm6 >oszapc
fb.f3.r encodekey256 =Gd Rd +$xmm0 +$xmm1 =$xmm2 =$xmm3 =$xmm4 =$xmm5 =$xmm6 >oszapc
fc.np.m aadd +Mx Gy
fc.66.m aand +Mx Gy
fc.f3.m axor +Mx Gy
fc.f2.m aor +Mx Gy
f8.f2.r.o64 urdmsr =Rq Gq FAULT
f8.f3.r.o64 uwrmsr Rq Gq FAULT
"""

THREE_3A = """
08.66 roundps =Vx Wx Ib
09.66 roundpd =Vx Wx Ib
0a.66 roundss +Vx Wx Ib
0b.66 roundsd +Vx Wx Ib
0c.66 blendps +Vx Wx Ib
0d.66 blendpd +Vx Wx Ib
0e.66 pblendw +Vx Wx Ib
0f.np palignr +Pq Qq Ib
0f.66 palignr +Vx Wx Ib
14.66 pextrb =Ey Vx Ib
15.66 pextrw =Ey Vx Ib
16.66 pextrd|pextrd|pextrq =Ey Vx Ib
17.66 extractps =Ey Vx Ib
20.66 pinsrb +Vx Ey Ib
21.66 insertps +Vx Wx Ib
22.66 pinsrd|pinsrd|pinsrq +Vx Ey Ib
40.66 dpps +Vx Wx Ib
41.66 dppd +Vx Wx Ib
42.66 mpsadbw +Vx Wx Ib
44.66 pclmulqdq +Vx Wx Ib
60.66 pcmpestrm Vx Wx Ib $axy $dxy =$xmm0 >oszapc
61.66 pcmpestri Vx Wx Ib $axy $dxy =$cxd >oszapc
62.66 pcmpistrm Vx Wx Ib =$xmm0 >oszapc
63.66 pcmpistri Vx Wx Ib =$cxd >oszapc
cc.np sha1rnds4 +Vx Wx Ib
ce.66 gf2p8affineqb +Vx Wx Ib
cf.66 gf2p8affineinvqb +Vx Wx Ib
df.66 aeskeygenassist =Vx Wx Ib
f0.f3./0.r.rm0 hreset @Ib $axd !privileged
"""
