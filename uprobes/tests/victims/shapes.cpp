// C++ names: overloads, a namespace, a template, an operator.
#include <cstdio>

#define KEPT __attribute__((noinline, used))

namespace shapes {
struct Box {
    int side;
    KEPT int area() const { return side * side; }
    KEPT int grow(int by) { return side += by; }
    KEPT int grow(long by) { return side += int(by) + 1; }
    KEPT Box operator+(const Box &other) const { return Box{side + other.side}; }
};
template <class T> KEPT T twice(T x) { return x + x; }
}

int main()
{
    shapes::Box box{3};
    char line[16];
    std::puts("ready");
    std::fflush(stdout);
    while (std::fgets(line, sizeof line, stdin))
        box = box + shapes::Box{box.area() + box.grow(1) + box.grow(2L) + shapes::twice(3)};
    return 0;
}
