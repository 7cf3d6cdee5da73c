//go:build unix

package caddymodule_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReaders measures what 200 readers of one live console cost: the
// heap that they take, and how many triggers a second are left of those
// without readers. The log grows by a line of 100 bytes every 10 ms, which every
// reader gets. Rounds with and without readers take turns.
func BenchmarkReaders(b *testing.B) {
	const readers = 200
	pipe := b.TempDir() + "/lines"
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		b.Fatal(err)
	}
	address := serveSite(b, `
	build_token {
		token TacoTuesday {
			grant trigger status log
		}
		job live {
			quiet_period 0s
			run cat `+pipe+`
		}
		job numbered {
			quiet_period 24h
			param N string
			run true
		}
	}
`)
	root := " HTTP/1.1\r\nHost: " + address + "\r\n\r\n"
	triggers := dial(b, address, 16)
	triggers.run(b, time.Millisecond, "", func([]byte) []byte {
		return []byte("GET /buildByToken/build?job=live&token=TacoTuesday" + root)
	})
	lines, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits until the build reads
	if err != nil {
		b.Fatal(err)
	}
	stop := make(chan struct{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		line := []byte(strings.Repeat("x", 99) + "\n")
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := lines.Write(line); err != nil {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	var serial, got atomic.Int64
	request := func(buf []byte) []byte {
		return fmt.Appendf(buf[:0], "GET /buildByToken/buildWithParameters?job=numbered&token=TacoTuesday&N=%d%s", serial.Add(1), root)
	}
	var ratios []float64
	var heap uint64
	for b.Loop() {
		for range rounds {
			alone, _ := triggers.run(b, slice, "201", request)
			before := heapInUse()
			conns := make([]net.Conn, readers)
			for i := range conns {
				conns[i] = follow(b, address, root, &got)
			}
			// The readers have caught up when each has something.
			for got.Load() < readers {
				runtime.Gosched()
			}
			watched, _ := triggers.run(b, slice, "201", request)
			heap = max(heap, heapInUse()-min(before, heapInUse()))
			for _, c := range conns {
				_ = c.Close()
			}
			got.Store(0)
			ratios = append(ratios, watched/alone)
		}
	}
	close(stop)
	<-written
	_ = lines.Close()
	b.ReportMetric(median(ratios), "triggers-ratio")
	b.ReportMetric(float64(heap)/(1<<20), "MiB/200-readers")
	b.ReportMetric(0, "ns/op") // an op is all rounds: it says nothing
}

// follow reads the live log until the connection is closed.
func follow(b *testing.B, address, root string, got *atomic.Int64) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Write([]byte("GET /buildByToken/log?job=live&token=TacoTuesday&item=1" + root)); err != nil {
		b.Fatal(err)
	}
	go func() { // ends when the connection is closed
		in := bufio.NewReader(conn)
		seen := false
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if !seen && bytes.HasPrefix(line, []byte("xxx")) {
				seen = true
				got.Add(1)
			}
		}
	}()
	return conn
}

// heapInUse is what is reachable now, in bytes.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
