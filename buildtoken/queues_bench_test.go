package buildtoken_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// BenchmarkQueues creates items of 100 jobs from 64 callers: with the queue in a file, and with
// one, two and four servers that share a queue in Postgres. The servers and the database share
// the processors of this machine. BenchmarkBesidePgbench of pgqueue measures how long Postgres
// takes for the same statements.
func BenchmarkQueues(b *testing.B) {
	const callers = 64
	for _, servers := range []int{0, 1, 2, 4} {
		name := fmt.Sprintf("servers=%d", servers)
		if servers == 0 {
			name = "file"
		}
		b.Run(name, func(b *testing.B) {
			queues := openQueues(b, servers)
			var n atomic.Int64
			b.ResetTimer() // opening takes longer than a thousand triggers
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := n.Add(1)
					r := queue.Request{Job: fmt.Sprint("job", n%100), Cause: queue.Cause{Kind: queue.CauseRemote}}
					copy(r.Digest[:], fmt.Sprint(n))
					if _, _, err := queues[n%int64(len(queues))].Schedule(context.Background(), time.Now(), r); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "triggers/s")
		})
	}
}

// openQueues opens a queue in a file, or one in a database for that many servers.
func openQueues(b *testing.B, servers int) (queues []buildtoken.Queue) {
	b.Helper()
	add := func(q buildtoken.Queue, err error) {
		if err != nil {
			b.Fatal(err)
		}
		queues = append(queues, q)
		b.Cleanup(func() {
			if err := q.Close(); err != nil {
				b.Error(err)
			}
		})
	}
	if servers == 0 {
		add(boltqueue.Open(boltqueue.Options{Path: filepath.Join(b.TempDir(), "queue.db")}))
		return queues
	}
	url := pgtest.Start(b).URL()
	schema := pgtest.Schema(b, url)
	for n := range servers {
		add(pgqueue.Open(b.Context(), pgqueue.Options{URL: url, Schema: schema, Server: fmt.Sprint("server", n), Log: zap.NewNop()}))
	}
	return queues
}
