"""Frida as a tracer: PID WAY ADDRESS [ADDRESS …].

WAY: `count`, `record` (time, thread, six arguments) and `returns` (the time between entry and
return) run compiled C at each event; `many` counts in C at all addresses, and says how long
putting in and taking out took; `short` counts in JavaScript and is gone at once.
"""

import json
import signal
import sys
import time

import frida

HEAD = """
#include <gum/guminterceptor.h>
extern volatile long hits;
"""
COUNT = "void onEnter(GumInvocationContext *ic) { hits++; }"
ARGUMENTS = "\n".join(
    f"  slot[{2 + n}] = (gint64) gum_invocation_context_get_nth_argument(ic, {n});"
    for n in range(6)
)
RECORD = f"""
extern gint64 ring[8 * 65536];
extern gint64 g_get_monotonic_time(void);
void onEnter(GumInvocationContext *ic) {{
  gint64 *slot = ring + 8 * (hits++ & 65535);
  slot[0] = g_get_monotonic_time();
  slot[1] = gum_invocation_context_get_thread_id(ic);
{ARGUMENTS}
}}
"""
RETURNS = """
extern gint64 ring[8 * 65536];
extern gint64 g_get_monotonic_time(void);
typedef struct { gint64 entered; } Call;
void onEnter(GumInvocationContext *ic) {
  GUM_IC_GET_INVOCATION_DATA(ic, Call)->entered = g_get_monotonic_time();
}
void onLeave(GumInvocationContext *ic) {
  ring[hits++ & 65535] = g_get_monotonic_time() - GUM_IC_GET_INVOCATION_DATA(ic, Call)->entered;
}
"""
BODIES = {"count": COUNT, "record": RECORD, "returns": RETURNS, "many": COUNT}
IN_C = """
const hits = Memory.alloc(8), ring = Memory.alloc(8 * 8 * 65536);
const code = new CModule(%s, {hits, ring});
rpc.exports = {
  put() {
    for (const address of %s) Interceptor.attach(ptr(address), code);
    Interceptor.flush();
  },
  take() { Interceptor.detachAll(); Interceptor.flush(); },
  hits() { return hits.readU64().toNumber(); },
};
"""
IN_JAVASCRIPT = """
let hits = 0;
rpc.exports = {
  put() { Interceptor.attach(ptr(%s[0]), { onEnter() { hits++; } }); Interceptor.flush(); },
  hits() { return hits; },
};
"""


def main() -> None:
    """Probe until SIGTERM; then print the hits."""
    pid, way = int(sys.argv[1]), sys.argv[2]
    addresses = json.dumps(sys.argv[3:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    begun = time.perf_counter_ns()
    session = frida.attach(pid)
    if way == "short":
        script = session.create_script(IN_JAVASCRIPT % addresses)
    else:
        script = session.create_script(IN_C % (json.dumps(HEAD + BODIES[way]), addresses))
    script.load()
    script.exports_sync.put()
    put_in = time.perf_counter_ns() - begun
    print("ready", flush=True)
    try:
        signal.pause()
    finally:
        hits = script.exports_sync.hits()
        begun = time.perf_counter_ns()
        if way != "short":
            script.exports_sync.take()
        script.unload()
        session.detach()
        print("hits", hits, put_in, time.perf_counter_ns() - begun, flush=True)


if __name__ == "__main__":
    main()
