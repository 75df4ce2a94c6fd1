"""Rows of the VEX-encoded opcode maps. The notation is explained in `x86_row`."""

VEX1 = """
10.np vmovups =Vx Wx
10.66 vmovupd =Vx Wx
10.f3.r vmovss =Vx Hx Ux
10.f3.m vmovss =Vx Mx
10.f2.r vmovsd =Vx Hx Ux
10.f2.m vmovsd =Vx Mx
11.np vmovups =Wx Vx
11.66 vmovupd =Wx Vx
11.f3.r vmovss =Ux Hx Vx
11.f3.m vmovss =Mx Vx
11.f2.r vmovsd =Ux Hx Vx
11.f2.m vmovsd =Mx Vx
12.np.r.l0 vmovhlps =Vx Hx Ux
12.np.m.l0 vmovlps =Vx Hx Mx
12.66.m.l0 vmovlpd =Vx Hx Mx
12.f3 vmovsldup =Vx Wx
12.f2 vmovddup =Vx Wx
13.np.m.l0 vmovlps =Mx Vx
13.66.m.l0 vmovlpd =Mx Vx
14.np vunpcklps =Vx Hx Wx
14.66 vunpcklpd =Vx Hx Wx
15.np vunpckhps =Vx Hx Wx
15.66 vunpckhpd =Vx Hx Wx
16.np.r.l0 vmovlhps =Vx Hx Ux
16.np.m.l0 vmovhps =Vx Hx Mx
16.66.m.l0 vmovhpd =Vx Hx Mx
16.f3 vmovshdup =Vx Wx
17.np.m.l0 vmovhps =Mx Vx
17.66.m.l0 vmovhpd =Mx Vx
28.np vmovaps =Vx Wx
28.66 vmovapd =Vx Wx
29.np vmovaps =Wx Vx
29.66 vmovapd =Wx Vx
2a.f3 vcvtsi2ss =Vx Hx Ey
2a.f2 vcvtsi2sd =Vx Hx Ey
2b.np.m vmovntps =Mx Vx
2b.66.m vmovntpd =Mx Vx
2c.f3 vcvttss2si =Gy Wx
2c.f2 vcvttsd2si =Gy Wx
2d.f3 vcvtss2si =Gy Wx
2d.f2 vcvtsd2si =Gy Wx
2e.np vucomiss Vx Wx >oszapc
2e.66 vucomisd Vx Wx >oszapc
2f.np vcomiss Vx Wx >oszapc
2f.66 vcomisd Vx Wx >oszapc
41.np.r.w0.l1 kandw =kG kH kE
41.np.r.w1.l1 kandq =kG kH kE
41.66.r.w0.l1 kandb =kG kH kE
41.66.r.w1.l1 kandd =kG kH kE
42.np.r.w0.l1 kandnw =kG kH kE
42.np.r.w1.l1 kandnq =kG kH kE
42.66.r.w0.l1 kandnb =kG kH kE
42.66.r.w1.l1 kandnd =kG kH kE
44.np.r.w0.l0 knotw =kG kE
44.np.r.w1.l0 knotq =kG kE
44.66.r.w0.l0 knotb =kG kE
44.66.r.w1.l0 knotd =kG kE
45.np.r.w0.l1 korw =kG kH kE
45.np.r.w1.l1 korq =kG kH kE
45.66.r.w0.l1 korb =kG kH kE
45.66.r.w1.l1 kord =kG kH kE
46.np.r.w0.l1 kxnorw =kG kH kE
46.np.r.w1.l1 kxnorq =kG kH kE
46.66.r.w0.l1 kxnorb =kG kH kE
46.66.r.w1.l1 kxnord =kG kH kE
47.np.r.w0.l1 kxorw =kG kH kE
47.np.r.w1.l1 kxorq =kG kH kE
47.66.r.w0.l1 kxorb =kG kH kE
47.66.r.w1.l1 kxord =kG kH kE
4a.np.r.w0.l1 kaddw =kG kH kE
4a.np.r.w1.l1 kaddq =kG kH kE
4a.66.r.w0.l1 kaddb =kG kH kE
4a.66.r.w1.l1 kaddd =kG kH kE
4b.np.r.w0.l1 kunpckwd =kG kH kE
4b.np.r.w1.l1 kunpckdq =kG kH kE
4b.66.r.w0.l1 kunpckbw =kG kH kE
50.np.r vmovmskps =Gy Ux
50.66.r vmovmskpd =Gy Ux
51.np vsqrtps =Vx Wx
51.66 vsqrtpd =Vx Wx
51.f3 vsqrtss =Vx Hx Wx
51.f2 vsqrtsd =Vx Hx Wx
52.np vrsqrtps =Vx Wx
52.f3 vrsqrtss =Vx Hx Wx
53.np vrcpps =Vx Wx
53.f3 vrcpss =Vx Hx Wx
54.np vandps =Vx Hx Wx
54.66 vandpd =Vx Hx Wx
55.np vandnps =Vx Hx Wx
55.66 vandnpd =Vx Hx Wx
56.np vorps =Vx Hx Wx
56.66 vorpd =Vx Hx Wx
57.np vxorps =Vx Hx Wx
57.66 vxorpd =Vx Hx Wx
58.np vaddps =Vx Hx Wx
58.66 vaddpd =Vx Hx Wx
58.f3 vaddss =Vx Hx Wx
58.f2 vaddsd =Vx Hx Wx
59.np vmulps =Vx Hx Wx
59.66 vmulpd =Vx Hx Wx
59.f3 vmulss =Vx Hx Wx
59.f2 vmulsd =Vx Hx Wx
5a.np vcvtps2pd =Vx Wx
5a.66 vcvtpd2ps =Vx Wx
5a.f3 vcvtss2sd =Vx Hx Wx
5a.f2 vcvtsd2ss =Vx Hx Wx
5b.np vcvtdq2ps =Vx Wx
5b.66 vcvtps2dq =Vx Wx
5b.f3 vcvttps2dq =Vx Wx
5c.np vsubps =Vx Hx Wx
5c.66 vsubpd =Vx Hx Wx
5c.f3 vsubss =Vx Hx Wx
5c.f2 vsubsd =Vx Hx Wx
5d.np vminps =Vx Hx Wx
5d.66 vminpd =Vx Hx Wx
5d.f3 vminss =Vx Hx Wx
5d.f2 vminsd =Vx Hx Wx
5e.np vdivps =Vx Hx Wx
5e.66 vdivpd =Vx Hx Wx
5e.f3 vdivss =Vx Hx Wx
5e.f2 vdivsd =Vx Hx Wx
5f.np vmaxps =Vx Hx Wx
5f.66 vmaxpd =Vx Hx Wx
5f.f3 vmaxss =Vx Hx Wx
5f.f2 vmaxsd =Vx Hx Wx
60.66 vpunpcklbw =Vx Hx Wx
61.66 vpunpcklwd =Vx Hx Wx
62.66 vpunpckldq =Vx Hx Wx
63.66 vpacksswb =Vx Hx Wx
64.66 vpcmpgtb =Vx Hx Wx
65.66 vpcmpgtw =Vx Hx Wx
66.66 vpcmpgtd =Vx Hx Wx
67.66 vpackuswb =Vx Hx Wx
68.66 vpunpckhbw =Vx Hx Wx
69.66 vpunpckhwd =Vx Hx Wx
6a.66 vpunpckhdq =Vx Hx Wx
6b.66 vpackssdw =Vx Hx Wx
6c.66 vpunpcklqdq =Vx Hx Wx
6d.66 vpunpckhqdq =Vx Hx Wx
6e.66.l0 vmovd|vmovd|vmovq =Vx Ey
6f.66 vmovdqa =Vx Wx
6f.f3 vmovdqu =Vx Wx
70.66 vpshufd =Vx Wx Ib
70.f3 vpshufhw =Vx Wx Ib
70.f2 vpshuflw =Vx Wx Ib
71.66./2.r vpsrlw =Hx Ux Ib
71.66./4.r vpsraw =Hx Ux Ib
71.66./6.r vpsllw =Hx Ux Ib
72.66./2.r vpsrld =Hx Ux Ib
72.66./4.r vpsrad =Hx Ux Ib
72.66./6.r vpslld =Hx Ux Ib
73.66./2.r vpsrlq =Hx Ux Ib
73.66./3.r vpsrldq =Hx Ux Ib
73.66./6.r vpsllq =Hx Ux Ib
73.66./7.r vpslldq =Hx Ux Ib
74.66 vpcmpeqb =Vx Hx Wx
75.66 vpcmpeqw =Vx Hx Wx
76.66 vpcmpeqd =Vx Hx Wx
77.np.l0 vzeroupper +$vec
77.np.l1 vzeroall =$vec
7c.66 vhaddpd =Vx Hx Wx
7c.f2 vhaddps =Vx Hx Wx
7d.66 vhsubpd =Vx Hx Wx
7d.f2 vhsubps =Vx Hx Wx
7e.66.l0 vmovd|vmovd|vmovq =Ey Vx
7e.f3.l0 vmovq =Vx Wx
7f.66 vmovdqa =Wx Vx
7f.f3 vmovdqu =Wx Vx
90.np.w0.l0 kmovw =kG kE
90.np.w1.l0 kmovq =kG kE
90.66.w0.l0 kmovb =kG kE
90.66.w1.l0 kmovd =kG kE
91.np.m.w0.l0 kmovw =Mx kG
91.np.m.w1.l0 kmovq =Mx kG
91.66.m.w0.l0 kmovb =Mx kG
91.66.m.w1.l0 kmovd =Mx kG
92.np.r.w0.l0 kmovw =kG Rd
92.66.r.w0.l0 kmovb =kG Rd
92.f2.r.l0 kmovd|kmovd|kmovq =kG Ry
93.np.r.w0.l0 kmovw =Gd kE
93.66.r.w0.l0 kmovb =Gd kE
93.f2.r.l0 kmovd|kmovd|kmovq =Gy kE
98.np.r.w0.l0 kortestw kG kE >oszapc
98.np.r.w1.l0 kortestq kG kE >oszapc
98.66.r.w0.l0 kortestb kG kE >oszapc
98.66.r.w1.l0 kortestd kG kE >oszapc
99.np.r.w0.l0 ktestw kG kE >oszapc
99.np.r.w1.l0 ktestq kG kE >oszapc
99.66.r.w0.l0 ktestb kG kE >oszapc
99.66.r.w1.l0 ktestd kG kE >oszapc
ae.np./2.m.l0 vldmxcsr Mx
ae.np./3.m.l0 vstmxcsr =Mx
c2.np vcmpps =Vx Hx Wx Ib
c2.66 vcmppd =Vx Hx Wx Ib
c2.f3 vcmpss =Vx Hx Wx Ib
c2.f2 vcmpsd =Vx Hx Wx Ib
c4.66.l0 vpinsrw =Vx Hx Ey Ib
c5.66.r.l0 vpextrw =Gy Ux Ib
c6.np vshufps =Vx Hx Wx Ib
c6.66 vshufpd =Vx Hx Wx Ib
d0.66 vaddsubpd =Vx Hx Wx
d0.f2 vaddsubps =Vx Hx Wx
d1.66 vpsrlw =Vx Hx Wx
d2.66 vpsrld =Vx Hx Wx
d3.66 vpsrlq =Vx Hx Wx
d4.66 vpaddq =Vx Hx Wx
d5.66 vpmullw =Vx Hx Wx
d6.66.l0 vmovq =Wx Vx
d7.66.r vpmovmskb =Gy Ux
d8.66 vpsubusb =Vx Hx Wx
d9.66 vpsubusw =Vx Hx Wx
da.66 vpminub =Vx Hx Wx
db.66 vpand =Vx Hx Wx
dc.66 vpaddusb =Vx Hx Wx
dd.66 vpaddusw =Vx Hx Wx
de.66 vpmaxub =Vx Hx Wx
df.66 vpandn =Vx Hx Wx
e0.66 vpavgb =Vx Hx Wx
e1.66 vpsraw =Vx Hx Wx
e2.66 vpsrad =Vx Hx Wx
e3.66 vpavgw =Vx Hx Wx
e4.66 vpmulhuw =Vx Hx Wx
e5.66 vpmulhw =Vx Hx Wx
e6.66 vcvttpd2dq =Vx Wx
e6.f3 vcvtdq2pd =Vx Wx
e6.f2 vcvtpd2dq =Vx Wx
e7.66.m vmovntdq =Mx Vx
e8.66 vpsubsb =Vx Hx Wx
e9.66 vpsubsw =Vx Hx Wx
ea.66 vpminsw =Vx Hx Wx
eb.66 vpor =Vx Hx Wx
ec.66 vpaddsb =Vx Hx Wx
ed.66 vpaddsw =Vx Hx Wx
ee.66 vpmaxsw =Vx Hx Wx
ef.66 vpxor =Vx Hx Wx
f0.f2.m vlddqu =Vx Mx
f1.66 vpsllw =Vx Hx Wx
f2.66 vpslld =Vx Hx Wx
f3.66 vpsllq =Vx Hx Wx
f4.66 vpmuludq =Vx Hx Wx
f5.66 vpmaddwd =Vx Hx Wx
f6.66 vpsadbw =Vx Hx Wx
f7.66.r.l0 vmaskmovdqu =@$dia Vx Ux $dia
f8.66 vpsubb =Vx Hx Wx
f9.66 vpsubw =Vx Hx Wx
fa.66 vpsubd =Vx Hx Wx
fb.66 vpsubq =Vx Hx Wx
fc.66 vpaddb =Vx Hx Wx
fd.66 vpaddw =Vx Hx Wx
fe.66 vpaddd =Vx Hx Wx
"""

VEX2 = """
00.66 vpshufb =Vx Hx Wx
01.66 vphaddw =Vx Hx Wx
02.66 vphaddd =Vx Hx Wx
03.66 vphaddsw =Vx Hx Wx
04.66 vpmaddubsw =Vx Hx Wx
05.66 vphsubw =Vx Hx Wx
06.66 vphsubd =Vx Hx Wx
07.66 vphsubsw =Vx Hx Wx
08.66 vpsignb =Vx Hx Wx
09.66 vpsignw =Vx Hx Wx
0a.66 vpsignd =Vx Hx Wx
0b.66 vpmulhrsw =Vx Hx Wx
0c.66.w0 vpermilps =Vx Hx Wx
0d.66.w0 vpermilpd =Vx Hx Wx
0e.66.w0 vtestps Vx Wx >oszapc
0f.66.w0 vtestpd Vx Wx >oszapc
13.66.w0 vcvtph2ps =Vx Wx
16.66.w0.l1 vpermps =Vx Hx Wx
17.66 vptest Vx Wx >oszapc
18.66.m.w0 vbroadcastss =Vx Mx
18.66.r.w0 vbroadcastss =Vx Ux
19.66.m.w0.l1 vbroadcastsd =Vx Mx
19.66.r.w0.l1 vbroadcastsd =Vx Ux
1a.66.m.w0.l1 vbroadcastf128 =Vx Mx
1c.66 vpabsb =Vx Wx
1d.66 vpabsw =Vx Wx
1e.66 vpabsd =Vx Wx
20.66 vpmovsxbw =Vx Wx
21.66 vpmovsxbd =Vx Wx
22.66 vpmovsxbq =Vx Wx
23.66 vpmovsxwd =Vx Wx
24.66 vpmovsxwq =Vx Wx
25.66 vpmovsxdq =Vx Wx
28.66 vpmuldq =Vx Hx Wx
29.66 vpcmpeqq =Vx Hx Wx
2a.66.m vmovntdqa =Vx Mx
2b.66 vpackusdw =Vx Hx Wx
2c.66.m.w0 vmaskmovps =Vx Hx Mx
2d.66.m.w0 vmaskmovpd =Vx Hx Mx
2e.66.m.w0 vmaskmovps =Mx Hx Vx
2f.66.m.w0 vmaskmovpd =Mx Hx Vx
30.66 vpmovzxbw =Vx Wx
31.66 vpmovzxbd =Vx Wx
32.66 vpmovzxbq =Vx Wx
33.66 vpmovzxwd =Vx Wx
34.66 vpmovzxwq =Vx Wx
35.66 vpmovzxdq =Vx Wx
36.66.w0.l1 vpermd =Vx Hx Wx
37.66 vpcmpgtq =Vx Hx Wx
38.66 vpminsb =Vx Hx Wx
39.66 vpminsd =Vx Hx Wx
3a.66 vpminuw =Vx Hx Wx
3b.66 vpminud =Vx Hx Wx
3c.66 vpmaxsb =Vx Hx Wx
3d.66 vpmaxsd =Vx Hx Wx
3e.66 vpmaxuw =Vx Hx Wx
3f.66 vpmaxud =Vx Hx Wx
40.66 vpmulld =Vx Hx Wx
41.66.l0 vphminposuw =Vx Wx
45.66.w0 vpsrlvd =Vx Hx Wx
45.66.w1 vpsrlvq =Vx Hx Wx
46.66.w0 vpsravd =Vx Hx Wx
47.66.w0 vpsllvd =Vx Hx Wx
47.66.w1 vpsllvq =Vx Hx Wx
49.np./0.r.rm0.w0.l0.o64 tilerelease =$tiles
49.np./0.m.w0.l0.o64 ldtilecfg Mx =$tiles
49.66./0.m.w0.l0.o64 sttilecfg =Mx
49.f2.rm0.r.w0.l0.o64 tilezero =tG
4b.66.m.w0.l0.o64 tileloaddt1 =tG Mx SIBMEM
4b.f3.m.w0.l0.o64 tilestored =Mx tG SIBMEM
4b.f2.m.w0.l0.o64 tileloadd =tG Mx SIBMEM
50.np.w0 vpdpbuud +Vx Hx Wx
50.66.w0 vpdpbusd +Vx Hx Wx
50.f3.w0 vpdpbsud +Vx Hx Wx
50.f2.w0 vpdpbssd +Vx Hx Wx
51.np.w0 vpdpbuuds +Vx Hx Wx
51.66.w0 vpdpbusds +Vx Hx Wx
51.f3.w0 vpdpbsuds +Vx Hx Wx
51.f2.w0 vpdpbssds +Vx Hx Wx
52.66.w0 vpdpwssd +Vx Hx Wx
53.66.w0 vpdpwssds +Vx Hx Wx
58.66.w0 vpbroadcastd =Vx Wx
59.66.w0 vpbroadcastq =Vx Wx
5a.66.m.w0.l1 vbroadcasti128 =Vx Mx
5c.f3.r.w0.l0.o64 tdpbf16ps +tG tE tH UNIQUE
5c.f2.r.w0.l0.o64 tdpfp16ps +tG tE tH UNIQUE
5e.np.r.w0.l0.o64 tdpbuud +tG tE tH UNIQUE
5e.66.r.w0.l0.o64 tdpbusd +tG tE tH UNIQUE
5e.f3.r.w0.l0.o64 tdpbsud +tG tE tH UNIQUE
5e.f2.r.w0.l0.o64 tdpbssd +tG tE tH UNIQUE
6c.np.r.w0.l0.o64 tcmmrlfp16ps +tG tE tH UNIQUE
6c.66.r.w0.l0.o64 tcmmimfp16ps +tG tE tH UNIQUE
72.f3.w0 vcvtneps2bf16 =Vx Wx
78.66.w0 vpbroadcastb =Vx Wx
79.66.w0 vpbroadcastw =Vx Wx
8c.66.m.w0 vpmaskmovd =Vx Hx Mx
8c.66.m.w1 vpmaskmovq =Vx Hx Mx
8e.66.m.w0 vpmaskmovd =Mx Hx Vx
8e.66.m.w1 vpmaskmovq =Mx Hx Vx
90.66.m.w0 vpgatherdd +Vx Mx +Hx VSIB UNIQUE
90.66.m.w1 vpgatherdq +Vx Mx +Hx VSIB UNIQUE
91.66.m.w0 vpgatherqd +Vx Mx +Hx VSIB UNIQUE
91.66.m.w1 vpgatherqq +Vx Mx +Hx VSIB UNIQUE
92.66.m.w0 vgatherdps +Vx Mx +Hx VSIB UNIQUE
92.66.m.w1 vgatherdpd +Vx Mx +Hx VSIB UNIQUE
93.66.m.w0 vgatherqps +Vx Mx +Hx VSIB UNIQUE
93.66.m.w1 vgatherqpd +Vx Mx +Hx VSIB UNIQUE
96.66.w0 vfmaddsub132ps +Vx Hx Wx
96.66.w1 vfmaddsub132pd +Vx Hx Wx
97.66.w0 vfmsubadd132ps +Vx Hx Wx
97.66.w1 vfmsubadd132pd +Vx Hx Wx
98.66.w0 vfmadd132ps +Vx Hx Wx
98.66.w1 vfmadd132pd +Vx Hx Wx
99.66.w0 vfmadd132ss +Vx Hx Wx
99.66.w1 vfmadd132sd +Vx Hx Wx
9a.66.w0 vfmsub132ps +Vx Hx Wx
9a.66.w1 vfmsub132pd +Vx Hx Wx
9b.66.w0 vfmsub132ss +Vx Hx Wx
9b.66.w1 vfmsub132sd +Vx Hx Wx
9c.66.w0 vfnmadd132ps +Vx Hx Wx
9c.66.w1 vfnmadd132pd +Vx Hx Wx
9d.66.w0 vfnmadd132ss +Vx Hx Wx
9d.66.w1 vfnmadd132sd +Vx Hx Wx
9e.66.w0 vfnmsub132ps +Vx Hx Wx
9e.66.w1 vfnmsub132pd +Vx Hx Wx
9f.66.w0 vfnmsub132ss +Vx Hx Wx
9f.66.w1 vfnmsub132sd +Vx Hx Wx
a6.66.w0 vfmaddsub213ps +Vx Hx Wx
a6.66.w1 vfmaddsub213pd +Vx Hx Wx
a7.66.w0 vfmsubadd213ps +Vx Hx Wx
a7.66.w1 vfmsubadd213pd +Vx Hx Wx
a8.66.w0 vfmadd213ps +Vx Hx Wx
a8.66.w1 vfmadd213pd +Vx Hx Wx
a9.66.w0 vfmadd213ss +Vx Hx Wx
a9.66.w1 vfmadd213sd +Vx Hx Wx
aa.66.w0 vfmsub213ps +Vx Hx Wx
aa.66.w1 vfmsub213pd +Vx Hx Wx
ab.66.w0 vfmsub213ss +Vx Hx Wx
ab.66.w1 vfmsub213sd +Vx Hx Wx
ac.66.w0 vfnmadd213ps +Vx Hx Wx
ac.66.w1 vfnmadd213pd +Vx Hx Wx
ad.66.w0 vfnmadd213ss +Vx Hx Wx
ad.66.w1 vfnmadd213sd +Vx Hx Wx
ae.66.w0 vfnmsub213ps +Vx Hx Wx
ae.66.w1 vfnmsub213pd +Vx Hx Wx
af.66.w0 vfnmsub213ss +Vx Hx Wx
af.66.w1 vfnmsub213sd +Vx Hx Wx
b0.np.m.w0 vcvtneoph2ps =Vx Mx
b0.66.m.w0 vcvtneeph2ps =Vx Mx
b0.f3.m.w0 vcvtneebf162ps =Vx Mx
b0.f2.m.w0 vcvtneobf162ps =Vx Mx
b1.66.m.w0 vbcstnesh2ps =Vx Mx
b1.f3.m.w0 vbcstnebf162ps =Vx Mx
b4.66.w1 vpmadd52luq +Vx Hx Wx
b5.66.w1 vpmadd52huq +Vx Hx Wx
b6.66.w0 vfmaddsub231ps +Vx Hx Wx
b6.66.w1 vfmaddsub231pd +Vx Hx Wx
b7.66.w0 vfmsubadd231ps +Vx Hx Wx
b7.66.w1 vfmsubadd231pd +Vx Hx Wx
b8.66.w0 vfmadd231ps +Vx Hx Wx
b8.66.w1 vfmadd231pd +Vx Hx Wx
b9.66.w0 vfmadd231ss +Vx Hx Wx
b9.66.w1 vfmadd231sd +Vx Hx Wx
ba.66.w0 vfmsub231ps +Vx Hx Wx
ba.66.w1 vfmsub231pd +Vx Hx Wx
bb.66.w0 vfmsub231ss +Vx Hx Wx
bb.66.w1 vfmsub231sd +Vx Hx Wx
bc.66.w0 vfnmadd231ps +Vx Hx Wx
bc.66.w1 vfnmadd231pd +Vx Hx Wx
bd.66.w0 vfnmadd231ss +Vx Hx Wx
bd.66.w1 vfnmadd231sd +Vx Hx Wx
be.66.w0 vfnmsub231ps +Vx Hx Wx
be.66.w1 vfnmsub231pd +Vx Hx Wx
bf.66.w0 vfnmsub231ss +Vx Hx Wx
bf.66.w1 vfnmsub231sd +Vx Hx Wx
cb.f2.r.w0.l1 vsha512rnds2 +Vx Hx Ux
cc.f2.r.w0.l1 vsha512msg1 +Vx Ux
cd.f2.r.w0.l1 vsha512msg2 +Vx Ux
cf.66.w0 vgf2p8mulb =Vx Hx Wx
d2.np.w0 vpdpwuud +Vx Hx Wx
d2.66.w0 vpdpwusd +Vx Hx Wx
d2.f3.w0 vpdpwsud +Vx Hx Wx
d3.np.w0 vpdpwuuds +Vx Hx Wx
d3.66.w0 vpdpwusds +Vx Hx Wx
d3.f3.w0 vpdpwsuds +Vx Hx Wx
da.np.w0.l0 vsm3msg1 +Vx Hx Wx
da.66.w0.l0 vsm3msg2 +Vx Hx Wx
da.f3.w0 vsm4key4 =Vx Hx Wx
da.f2.w0 vsm4rnds4 =Vx Hx Wx
db.66.l0 vaesimc =Vx Wx
dc.66 vaesenc =Vx Hx Wx
dd.66 vaesenclast =Vx Hx Wx
de.66 vaesdec =Vx Hx Wx
df.66 vaesdeclast =Vx Hx Wx
e0.66.m.l0.o64 cmpoxadd +Mx +Gy By >oszapc
e1.66.m.l0.o64 cmpnoxadd +Mx +Gy By >oszapc
e2.66.m.l0.o64 cmpbxadd +Mx +Gy By >oszapc
e3.66.m.l0.o64 cmpnbxadd +Mx +Gy By >oszapc
e4.66.m.l0.o64 cmpzxadd +Mx +Gy By >oszapc
e5.66.m.l0.o64 cmpnzxadd +Mx +Gy By >oszapc
e6.66.m.l0.o64 cmpbexadd +Mx +Gy By >oszapc
e7.66.m.l0.o64 cmpnbexadd +Mx +Gy By >oszapc
e8.66.m.l0.o64 cmpsxadd +Mx +Gy By >oszapc
e9.66.m.l0.o64 cmpnsxadd +Mx +Gy By >oszapc
ea.66.m.l0.o64 cmppxadd +Mx +Gy By >oszapc
eb.66.m.l0.o64 cmpnpxadd +Mx +Gy By >oszapc
ec.66.m.l0.o64 cmplxadd +Mx +Gy By >oszapc
ed.66.m.l0.o64 cmpnlxadd +Mx +Gy By >oszapc
ee.66.m.l0.o64 cmplexadd +Mx +Gy By >oszapc
ef.66.m.l0.o64 cmpnlexadd +Mx +Gy By >oszapc
f2.np.l0 andn =Gy By Ey >oszapc
f3.np./1.l0 blsr =By Ey >oszapc
f3.np./2.l0 blsmsk =By Ey >oszapc
f3.np./3.l0 blsi =By Ey >oszapc
f5.np.l0 bzhi =Gy Ey By >oszapc
f5.f3.l0 pext =Gy By Ey
f5.f2.l0 pdep =Gy By Ey
f6.f2.l0 mulx =Gy =By Ey $dxy
f7.np.l0 bextr =Gy Ey By >oszapc
f7.66.l0 shlx =Gy Ey By
f7.f3.l0 sarx =Gy Ey By
f7.f2.l0 shrx =Gy Ey By
"""

VEX3 = """
00.66.w1.l1 vpermq =Vx Wx Ib
01.66.w1.l1 vpermpd =Vx Wx Ib
02.66.w0 vpblendd =Vx Hx Wx Ib
04.66.w0 vpermilps =Vx Wx Ib
05.66.w0 vpermilpd =Vx Wx Ib
06.66.w0.l1 vperm2f128 =Vx Hx Wx Ib
08.66 vroundps =Vx Wx Ib
09.66 vroundpd =Vx Wx Ib
0a.66 vroundss =Vx Hx Wx Ib
0b.66 vroundsd =Vx Hx Wx Ib
0c.66 vblendps =Vx Hx Wx Ib
0d.66 vblendpd =Vx Hx Wx Ib
0e.66 vpblendw =Vx Hx Wx Ib
0f.66 vpalignr =Vx Hx Wx Ib
14.66.l0 vpextrb =Ey Vx Ib
15.66.l0 vpextrw =Ey Vx Ib
16.66.l0 vpextrd|vpextrd|vpextrq =Ey Vx Ib
17.66.l0 vextractps =Ey Vx Ib
18.66.w0.l1 vinsertf128 =Vx Hx Wx Ib
19.66.w0.l1 vextractf128 =Wx Vx Ib
1d.66.w0 vcvtps2ph =Wx Vx Ib
20.66.l0 vpinsrb =Vx Hx Ey Ib
21.66.l0 vinsertps =Vx Hx Wx Ib
22.66.l0 vpinsrd|vpinsrd|vpinsrq =Vx Hx Ey Ib
30.66.r.w0.l0 kshiftrb =kG kE Ib
30.66.r.w1.l0 kshiftrw =kG kE Ib
31.66.r.w0.l0 kshiftrd =kG kE Ib
31.66.r.w1.l0 kshiftrq =kG kE Ib
32.66.r.w0.l0 kshiftlb =kG kE Ib
32.66.r.w1.l0 kshiftlw =kG kE Ib
33.66.r.w0.l0 kshiftld =kG kE Ib
33.66.r.w1.l0 kshiftlq =kG kE Ib
38.66.w0.l1 vinserti128 =Vx Hx Wx Ib
39.66.w0.l1 vextracti128 =Wx Vx Ib
40.66 vdpps =Vx Hx Wx Ib
41.66.l0 vdppd =Vx Hx Wx Ib
42.66 vmpsadbw =Vx Hx Wx Ib
44.66 vpclmulqdq =Vx Hx Wx Ib
46.66.w0.l1 vperm2i128 =Vx Hx Wx Ib
48.66.w0 vpermil2ps =Vx Hx Wx Lx
48.66.w1 vpermil2ps =Vx Hx Lx Wx
49.66.w0 vpermil2pd =Vx Hx Wx Lx
49.66.w1 vpermil2pd =Vx Hx Lx Wx
4a.66.w0 vblendvps =Vx Hx Wx Lx
4b.66.w0 vblendvpd =Vx Hx Wx Lx
4c.66.w0 vpblendvb =Vx Hx Wx Lx
5c.66.w0 vfmaddsubps =Vx Hx Wx Lx
5c.66.w1 vfmaddsubps =Vx Hx Lx Wx
5d.66.w0 vfmaddsubpd =Vx Hx Wx Lx
5d.66.w1 vfmaddsubpd =Vx Hx Lx Wx
5e.66.w0 vfmsubaddps =Vx Hx Wx Lx
5e.66.w1 vfmsubaddps =Vx Hx Lx Wx
5f.66.w0 vfmsubaddpd =Vx Hx Wx Lx
5f.66.w1 vfmsubaddpd =Vx Hx Lx Wx
60.66.l0 vpcmpestrm Vx Wx Ib $axy $dxy =$zmm0 >oszapc
61.66.l0 vpcmpestri Vx Wx Ib $axy $dxy =$cxd >oszapc
62.66.l0 vpcmpistrm Vx Wx Ib =$zmm0 >oszapc
63.66.l0 vpcmpistri Vx Wx Ib =$cxd >oszapc
68.66.w0 vfmaddps =Vx Hx Wx Lx
68.66.w1 vfmaddps =Vx Hx Lx Wx
69.66.w0 vfmaddpd =Vx Hx Wx Lx
69.66.w1 vfmaddpd =Vx Hx Lx Wx
6a.66.w0 vfmaddss =Vx Hx Wx Lx
6a.66.w1 vfmaddss =Vx Hx Lx Wx
6b.66.w0 vfmaddsd =Vx Hx Wx Lx
6b.66.w1 vfmaddsd =Vx Hx Lx Wx
6c.66.w0 vfmsubps =Vx Hx Wx Lx
6c.66.w1 vfmsubps =Vx Hx Lx Wx
6d.66.w0 vfmsubpd =Vx Hx Wx Lx
6d.66.w1 vfmsubpd =Vx Hx Lx Wx
6e.66.w0 vfmsubss =Vx Hx Wx Lx
6e.66.w1 vfmsubss =Vx Hx Lx Wx
6f.66.w0 vfmsubsd =Vx Hx Wx Lx
6f.66.w1 vfmsubsd =Vx Hx Lx Wx
78.66.w0 vfnmaddps =Vx Hx Wx Lx
78.66.w1 vfnmaddps =Vx Hx Lx Wx
79.66.w0 vfnmaddpd =Vx Hx Wx Lx
79.66.w1 vfnmaddpd =Vx Hx Lx Wx
7a.66.w0 vfnmaddss =Vx Hx Wx Lx
7a.66.w1 vfnmaddss =Vx Hx Lx Wx
7b.66.w0 vfnmaddsd =Vx Hx Wx Lx
7b.66.w1 vfnmaddsd =Vx Hx Lx Wx
7c.66.w0 vfnmsubps =Vx Hx Wx Lx
7c.66.w1 vfnmsubps =Vx Hx Lx Wx
7d.66.w0 vfnmsubpd =Vx Hx Wx Lx
7d.66.w1 vfnmsubpd =Vx Hx Lx Wx
7e.66.w0 vfnmsubss =Vx Hx Wx Lx
7e.66.w1 vfnmsubss =Vx Hx Lx Wx
7f.66.w0 vfnmsubsd =Vx Hx Wx Lx
7f.66.w1 vfnmsubsd =Vx Hx Lx Wx
ce.66.w1 vgf2p8affineqb =Vx Hx Wx Ib
cf.66.w1 vgf2p8affineinvqb =Vx Hx Wx Ib
de.66.w0.l0 vsm3rnds2 +Vx Hx Wx Ib
df.66.l0 vaeskeygenassist =Vx Wx Ib
f0.f2.l0 rorx =Gy Ey Ib
"""

VEX7 = """
f8.f2./0.r.w0.l0.o64 urdmsr =Rq Id FAULT
f8.f3./0.r.w0.l0.o64 uwrmsr Rq Id FAULT
"""
