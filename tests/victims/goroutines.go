// Goroutines whose stacks grow and move while the garbage is collected, panics recovered through probed
// functions, defer, select and channels; counts the calls of its own functions: goroutines WORKERS ROUNDS
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"
)

var calls, thrown, climbed int64

type pair struct{ quotient, rest int }

//go:noinline
func divide(a, b int) pair {
	atomic.AddInt64(&calls, 1)
	return pair{a / b, a % b} // panics for b == 0
}

//go:noinline
func guarded(a, b int) (result pair, err error) {
	defer func() {
		if r := recover(); r != nil {
			atomic.AddInt64(&thrown, 1)
			err = fmt.Errorf("recovered: %v", r)
		}
	}()
	return divide(a, b), nil
}

// The stack grows at a depth that differs from call to call, and moves with every frame on it.
//
//go:noinline
func climb(depth int) int {
	var room [64]byte
	atomic.AddInt64(&climbed, 1)
	room[depth%64] = byte(depth)
	if depth == 0 {
		return int(room[0])
	}
	if depth%97 == 0 {
		return climb(depth-1) + 1
	}
	return climb(depth-1) + 1 + int(room[depth%64]) - depth%256
}

//go:noinline
func pass(in <-chan int, out chan<- int, stop <-chan struct{}) int {
	passed := 0
	for {
		select {
		case x, ok := <-in:
			if !ok {
				return passed
			}
			out <- x + 1
			passed++
		case <-stop:
			return passed
		}
	}
}

var kept [16][]byte

func work(number, rounds int) (sum int) {
	in, out, stop := make(chan int), make(chan int, 1), make(chan struct{})
	done := make(chan int)
	go func() { done <- pass(in, out, stop) }()
	for i := 0; i < rounds; i++ {
		result, err := guarded(i+1000, i%5)
		if err == nil {
			sum += result.quotient + result.rest
		}
		finished := make(chan int)
		go func() { finished <- climb(50 + i%7*40) }()
		sum += <-finished
		in <- i
		sum += <-out
		kept[(number+i)%16] = make([]byte, 1<<12) // something to collect
		for spin := 0; spin < 2000; spin++ {      // something to preempt
			sum ^= spin
		}
	}
	if number%2 == 0 {
		close(in)
	} else {
		close(stop)
	}
	return sum + <-done
}

func number(at int) int {
	value, err := strconv.Atoi(os.Args[at])
	if err != nil {
		panic(err)
	}
	return value
}

func address(f interface{}) uintptr {
	return **(**uintptr)(unsafe.Pointer(uintptr(unsafe.Pointer(&f)) + unsafe.Sizeof(uintptr(0))))
}

func main() {
	workers, rounds := number(1), number(2)
	runtime.GOMAXPROCS(4)
	debug.SetGCPercent(5)
	fmt.Printf("divide %#x\nclimb %#x\nready\n", address(divide), address(climb))
	line := bufio.NewReader(os.Stdin)
	line.ReadString('\n')
	sums := make([]int, workers)
	var group sync.WaitGroup
	for i := range sums {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			sums[i] = work(i, rounds)
		}(i)
	}
	group.Wait()
	sum := 0
	for _, each := range sums {
		sum += each
	}
	fmt.Printf("sum %d\ndivide %d\nrecovered %d\nclimb %d\n", sum, calls, thrown, climbed)
}
