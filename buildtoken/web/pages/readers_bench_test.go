package pages_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// historic is a queue whose jobs have the history of large.
type historic struct {
	buildtoken.Queue
	past *large
}

func (h *historic) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	all, err := h.Queue.Overviews(ctx, jobs)
	for i := range all {
		past := h.past.overviews[all[i].Lane.Job]
		all[i].Summary, all[i].Oldest = past.Summary, past.Oldest
	}
	return all, err
}

// BenchmarkTriggersBesideReaders measures a trigger, twenty a second, while 0 or 20 readers have
// the list of 5,000 jobs open. Each trigger changes the list. Readers slow down the median by
// less than a tenth. Compare several rounds of one run:
//
//	go test ./buildtoken/web/pages -run '^$' -bench BesideReaders -benchtime 200x -count 3
func BenchmarkTriggersBesideReaders(b *testing.B) {
	const jobs = 5000
	l, spec := newLarge(jobs)
	site := benchmarked(b, spec, func(q buildtoken.Queue) buildtoken.Queue { return &historic{q, l} })
	for _, readers := range []int{0, 20} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			var streams sync.WaitGroup
			for range readers {
				out := &streamed{header: http.Header{}}
				streams.Go(func() {
					site.Serve(out, request(http.MethodGet, "/queue/-/events/", "alice", nil).WithContext(ctx)) //nolint:contextcheck // it takes the request's
				})
			}
			b.Cleanup(func() {
				cancel()
				streams.Wait()
			})
			var took []time.Duration
			every := time.NewTicker(50 * time.Millisecond)
			defer every.Stop()
			cause := "push"
			for b.Loop() {
				<-every.C
				n := rand.IntN(jobs)
				start := time.Now()
				if _, err := site.ctl.Trigger(b.Context(), site.site.Definition, buildtoken.Trigger{
					Caller: definition.Caller{User: "alice", Post: true}, Action: buildtoken.Build,
					Job: fmt.Sprintf("service-%d/component-%d", n/20, n), AnyKind: true, UserMayTrigger: true, Cause: &cause, Root: root,
				}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op") // the pause between triggers
			b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
		})
	}
}
