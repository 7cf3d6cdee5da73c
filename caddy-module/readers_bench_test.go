//go:build unix

package caddymodule_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// BenchmarkReaders measures the cost of 200 readers of one live console: heap, milliseconds of
// processor time per second, and the remaining rate of triggers as a share of the rate without
// readers. Rounds with and without readers alternate. The readers are in the same process, so
// their cost is included. On a machine with other load, the milliseconds are more meaningful
// than the triggers, which mostly wait for the disk.
//
// A live console is what people watch: ten lines of a hundred bytes a second. A busy one has a
// hundred lines, like a compiler's, and a flood ten thousand, a megabyte, as when a build
// prints what it should write to a file. Readers begin at the end of the log. They read it as
// text or as events, with a token, or as the page of the build, which also receives every
// trigger.
func BenchmarkReaders(b *testing.B) {
	for _, log := range []struct {
		name  string
		lines int // in a hundredth of a second
	}{{"live", 0}, {"busy", 1}, {"flood", 100}} {
		for _, kind := range []struct{ name, request string }{
			{"text", "GET /buildByToken/log?job=live&token=TacoTuesday&item=1&start=%d"},
			{"events", "GET /buildByToken/log?job=live&token=TacoTuesday&item=1&start=%d HTTP/1.1\r\nAccept: text/event-stream"},
			{"page", "GET /queue/-/events/job/live/1/?start=%d"},
		} {
			b.Run(log.name+"/"+kind.name, func(b *testing.B) { benchmarkReaders(b, log.lines, kind.request) })
		}
	}
}

func benchmarkReaders(b *testing.B, lines int, reading string) {
	const readers = 200
	pipe := filepath.Join(b.TempDir(), "lines")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		b.Fatal(err)
	}
	address := serveSite(b, `
	build_token {
		access {
			read true
		}
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
	var written atomic.Int64
	defer writeLines(b, pipe, lines, &written)()
	var serial atomic.Int64
	request := func(buf []byte) []byte {
		return fmt.Appendf(buf[:0], "GET /buildByToken/buildWithParameters?job=numbered&token=TacoTuesday&N=%d%s", serial.Add(1), root)
	}
	var ratios, busy []float64
	var heap uint64
	for b.Loop() {
		for range rounds {
			alone, _ := triggers.run(b, slice, "201", request)
			before := heapInUse()
			conns := make([]net.Conn, readers)
			seen := make(chan struct{}, readers)
			for i := range conns {
				ask, rest, _ := strings.Cut(fmt.Sprintf(reading, written.Load()), " HTTP/1.1")
				conns[i] = follow(b, address, ask+" HTTP/1.1\r\nHost: "+address+rest+"\r\n\r\n", "xxx", seen)
			}
			for range readers { // each reader has received some of the log, so it has caught up
				<-seen
			}
			busy = append(busy, processorUse(b, 2*slice))
			watched, _ := triggers.run(b, slice, "201", request)
			heap = max(heap, heapInUse()-min(before, heapInUse()))
			for _, c := range conns {
				_ = c.Close()
			}
			ratios = append(ratios, watched/alone)
		}
	}
	b.ReportMetric(median(ratios), "triggers-ratio")
	b.ReportMetric(median(busy), "cpu-ms/s")
	b.ReportMetric(float64(heap)/(1<<20), "MiB/200-readers")
	b.ReportMetric(0, "ns/op") // an op is all rounds, which is not of interest
}

// writeLines makes a build write that many lines a hundred times a second, or one line ten
// times a second if it is 0, and counts the bytes. The returned function ends it.
func writeLines(b *testing.B, pipe string, lines int, written *atomic.Int64) (end func()) {
	b.Helper()
	out, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits until the build reads
	if err != nil {
		b.Fatal(err)
	}
	every := 10 * time.Millisecond
	if lines == 0 {
		lines, every = 1, 100*time.Millisecond
	}
	text := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), lines)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // ends with end, which waits for it
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n, err := out.Write(text)
				written.Add(int64(n))
				if err != nil {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		_ = out.Close()
	}
}

// follow reads an answer until the connection is closed, and reports when the text has arrived.
func follow(b *testing.B, address, request, text string, seen chan<- struct{}) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		b.Fatal(err)
	}
	go func() { // ends when the connection is closed
		in := make([]byte, 4<<10)
		for first := true; ; {
			n, err := conn.Read(in)
			if err != nil {
				return
			}
			if first && bytes.Contains(in[:n], []byte(text)) {
				first = false
				seen <- struct{}{}
			}
		}
	}()
	return conn
}

// processorUse returns the milliseconds of processor time that the process uses per second,
// measured over d.
func processorUse(b *testing.B, d time.Duration) float64 {
	b.Helper()
	begin, before := time.Now(), processorTime(b)
	<-time.After(d)
	return float64((processorTime(b) - before).Milliseconds()) / time.Since(begin).Seconds()
}

// BenchmarkTriggersBesideLists measures a trigger, twenty a second, while 0 or 20 readers have the list
// of 5,000 jobs open, with a queue in a file and in Postgres. Each trigger starts a build, which changes
// the list twice. Rounds without and with readers alternate; the results are medians.
func BenchmarkTriggersBesideLists(b *testing.B) {
	for _, kind := range []string{"file", "postgres"} {
		b.Run("queue="+kind, func(b *testing.B) {
			dir, address := b.TempDir(), freeAddress(b)
			text := siteText(dir, address, `build_token {
	access {
		read true
	}
	quiet_period 0s
	token TacoTuesday
`+strings.ReplaceAll(manyJobs(5000), " allow `params.REF != \"x\"`\n run true {param.REF}\n", " run true\n")+"}")
			if kind == "postgres" {
				text = strings.Replace(text, "queue bolt "+dir+"/queue.db", "queue postgres "+pgtest.Start(b).URL(), 1)
			}
			serve(b, text)
			triggers := dial(b, address, 1).clients[0]
			var serial int
			round := func() (p50 float64) {
				every := time.NewTicker(50 * time.Millisecond)
				defer every.Stop()
				var took []float64
				for range 100 {
					<-every.C
					serial++
					job := serial * 7 % 5000
					request := fmt.Sprintf("GET /buildByToken/buildWithParameters?job=f%d/j%d&token=secret%d&REF=%d HTTP/1.1\r\nHost: %s\r\n\r\n", job/100, job, job, serial, address)
					start := time.Now()
					if err := triggers.ask([]byte(request), "201"); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(start).Seconds()*1000)
				}
				return median(took)
			}
			var alone, watched, slower []float64
			for b.Loop() {
				round()
				for range 5 {
					alone = append(alone, round())
					seen := make(chan struct{}, 20)
					var readers []net.Conn
					for range 20 {
						readers = append(readers, follow(b, address, "GET /queue/-/events/ HTTP/1.1\r\nHost: "+address+"\r\n\r\n", "data:", seen))
					}
					for range readers {
						<-seen
					}
					watched = append(watched, round())
					for _, r := range readers {
						_ = r.Close()
					}
					slower = append(slower, watched[len(watched)-1]/alone[len(alone)-1])
				}
			}
			b.ReportMetric(median(alone), "alone-ms")
			b.ReportMetric(median(watched), "watched-ms")
			b.ReportMetric(median(slower), "ratio")
			b.ReportMetric(0, "ns/op") // an op is all rounds, which is not of interest
		})
	}
}
