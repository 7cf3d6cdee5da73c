package buildtoken_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// backlog returns a site whose receivers are all down. Of each of the jobs, a notification to
// each of ten receivers is waiting. The job "date" has no receivers.
func backlog(b *testing.B, jobs int) *site {
	b.Helper()
	dir := b.TempDir()
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		b.Fatal(err)
	}
	c, err := buildtoken.Open(b.Context(), buildtoken.Options{Queue: q, Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	})
	folder := definition.Folder{Name: "f"}
	for i := range 10 {
		down := &inbox{answer: func(context.Context, *notify.Event) notify.Outcome {
			time.Sleep(5 * time.Millisecond) // as long as another machine takes to answer
			return notify.Outcome{Error: "503 Service Unavailable"}
		}}
		folder.Notify = append(folder.Notify, definition.NotifySpec{Name: fmt.Sprint("r", i), On: []queue.Condition{queue.OnAlways}, To: down})
	}
	none := time.Duration(0)
	for i := range jobs {
		folder.Jobs = append(folder.Jobs, definition.Job{Name: fmt.Sprint("j", i), Tokens: opens(), Runner: succeeds(), Settings: job.Settings{QuietPeriod: &none}})
	}
	s := &site{Controller: c, t: b}
	s.attach(definition.Spec{Root: definition.Folder{
		Folders: []definition.Folder{folder},
		Jobs:    []definition.Job{labelled("date", "", date(b)), {Name: "many", Tokens: opens(), Runner: succeeds(), Coalesce: job.Never}},
	}})
	for i := range jobs {
		s.trigger(fmt.Sprint("f/j", i))
	}
	for {
		backlogs, err := c.Backlogs(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		waiting := 0
		for _, l := range backlogs {
			waiting += l.Waiting
		}
		if waiting == 10*jobs {
			return s
		}
		runtime.Gosched()
	}
}

// BenchmarkBesideNotifications measures how much ten thousand notifications to receivers that
// are down slow down other work: the start of builds, and triggers from 64 callers.
func BenchmarkBesideNotifications(b *testing.B) {
	for _, jobs := range []int{0, 1000} {
		name := fmt.Sprintf("waiting=%d", 10*jobs)
		b.Run("start/"+name, func(b *testing.B) {
			s := backlog(b, jobs)
			b.ResetTimer()
			dueToStart(b, s, s)
		})
		b.Run("triggers/"+name, func(b *testing.B) {
			s := backlog(b, jobs)
			var n atomic.Int64
			took := make([]time.Duration, b.N)
			b.ResetTimer()
			b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					begun := time.Now()
					if _, err := s.Trigger(context.Background(), s.def, ask("many", delayed("24h"))); err != nil {
						b.Error(err)
						return
					}
					took[n.Add(1)-1] = time.Since(begun)
				}
			})
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "triggers/s")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
