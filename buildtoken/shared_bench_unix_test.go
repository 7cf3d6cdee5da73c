//go:build unix

package buildtoken_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// line is what a build prints in benchmarks, after a number that makes each line different.
var line = strings.Repeat("compiling package ", 6)[:92]

// BenchmarkSharedLog measures how long a log of 64 MiB, which a build prints as fast as it can,
// takes to reach Postgres and readers on another server. ns/op is the whole build; print-MiB/s
// is how fast the build could print.
func BenchmarkSharedLog(b *testing.B) {
	const size = 64 << 20
	for _, readers := range []int{0, 1, 20} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			var printing time.Duration
			c := newCluster(b, labelled("app", "a", runs(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
				begin := time.Now()
				var text []byte
				for n := 0; n < size; n += len(text) {
					text = text[:0]
					for len(text) < 32<<10 {
						text = fmt.Appendf(text, "%7d %s\n", n+len(text), line)
					}
					log.Write(text)
				}
				printing += time.Since(begin)
				return runner.Result{Outcome: runner.Success}
			})))
			b.SetBytes(size)
			other, a := c.join("b"), c.join("a")
			for number := int64(1); b.Loop(); number++ {
				id := a.trigger("app").Item.ID
				var following sync.WaitGroup
				for range readers {
					following.Go(func() {
						r := other.awaitLog(id)
						defer r.Close()
						if end, err := console.Follow(b.Context(), r, 0, func([]byte) error { return nil }); err != nil || end < size {
							b.Errorf("followed to %d, %v", end, err)
						}
					})
				}
				a.ended(id)
				following.Wait()
			}
			b.ReportMetric(float64(b.N)*size/(1<<20)/printing.Seconds(), "print-MiB/s")
		})
	}
}

// BenchmarkReadersElsewhere measures what 200 readers of a live log cost on a server other than
// the one that builds. The unit is milliseconds of processor time per second, for the whole
// process: it includes the build and its server, but not the database. The build prints lines
// of a hundred bytes: ten, a hundred or ten thousand a second.
func BenchmarkReadersElsewhere(b *testing.B) {
	for _, log := range []struct {
		name  string
		lines int // in a tenth of a second
	}{{"live", 1}, {"busy", 10}, {"flood", 1000}} {
		for _, readers := range []int{0, 200} {
			b.Run(fmt.Sprintf("%s/readers=%d", log.name, readers), func(b *testing.B) {
				text := bytes.Repeat([]byte(line+"1234567\n"), log.lines)
				c := newCluster(b, labelled("app", "a", runs(func(ctx context.Context, _ runner.Build, log io.Writer) runner.Result {
					tick := time.NewTicker(100 * time.Millisecond)
					defer tick.Stop()
					for {
						select {
						case <-tick.C:
							log.Write(text)
						case <-ctx.Done():
							return runner.Result{Outcome: runner.Aborted}
						}
					}
				})))
				other, a := c.join("b"), c.join("a")
				id := a.trigger("app").Item.ID
				ctx, cancel := context.WithCancel(b.Context())
				var following sync.WaitGroup
				var read atomic.Int64
				r := other.awaitLog(id)
				defer r.Close()
				for range readers {
					following.Go(func() {
						_, _ = console.Follow(ctx, r, r.Size(), func(p []byte) error {
							read.Add(int64(len(p)))
							return nil
						})
					})
				}
				for b.Loop() {
					used, bytes, begin := processorTime(b), read.Load(), time.Now()
					<-time.After(3 * time.Second)
					seconds := time.Since(begin).Seconds()
					b.ReportMetric(float64((processorTime(b)-used).Milliseconds())/seconds, "cpu-ms/s")
					b.ReportMetric(float64(read.Load()-bytes)/(1<<20)/seconds, "read-MiB/s")
				}
				b.ReportMetric(0, "ns/op")
				cancel()
				following.Wait()
				if err := a.StopBuild(context.Background(), "app", 1, "the benchmark"); err != nil {
					b.Error(err)
				}
				a.ended(id)
			})
		}
	}
}

// awaitLog waits for the beginning of the log of an item's build, and opens it.
func (s *site) awaitLog(id int64) *console.Reader {
	s.t.Helper()
	for {
		e, err := s.Entry(context.Background(), s.def, id)
		if err != nil {
			s.t.Error(err)
			return nil
		}
		if e.Build != nil {
			r, err := s.Log(context.Background(), e.Item.Job, e.Build.Number)
			if err != nil {
				s.t.Error(err)
			}
			return r
		}
		<-time.After(10 * time.Millisecond)
	}
}

// processorTime returns how much processor time this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
