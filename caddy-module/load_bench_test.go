package caddymodule_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// BenchmarkLoad measures how long a configuration with many jobs takes: to read the Caddyfile,
// to load the result into a process that has none, and to load it again, with the queue open.
// Each job has a token, a parameter and a rule.
func BenchmarkLoad(b *testing.B) {
	for _, jobs := range []int{1, 10_000, 100_000} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			text := siteText(b.TempDir(), freeAddress(b), "build_token {\n"+manyJobs(jobs)+"}")
			var adapts, loads, reloads []float64
			var heap uint64
			for b.Loop() {
				before, start := heapInUse(), time.Now()
				config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
				if err != nil {
					b.Fatal(err, warnings)
				}
				adapts = append(adapts, time.Since(start).Seconds())
				for _, seconds := range []*[]float64{&loads, &reloads} {
					start = time.Now()
					if err := caddy.Load(config, true); err != nil {
						b.Fatal(err)
					}
					*seconds = append(*seconds, time.Since(start).Seconds())
				}
				runtime.KeepAlive(config)
				heap = max(heap, heapInUse()-min(before, heapInUse()))
				if err := caddy.Stop(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(median(adapts), "adapt-s")
			b.ReportMetric(median(loads), "load-s")
			b.ReportMetric(median(reloads), "reload-s")
			b.ReportMetric(float64(heap)/float64(jobs), "heap-B/job")
			b.ReportMetric(0, "ns/op") // an op is all of these
		})
	}
}

// heapInUse returns the reachable heap, in bytes.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
