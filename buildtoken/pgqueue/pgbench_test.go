package pgqueue_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// BenchmarkBesidePgbench creates items, and then runs the statements of a trigger,
// testdata/schedule.pgbench, in pgbench with as many clients as there were callers. ratio is
// the number of triggers for each transaction of pgbench in the same time. The two run one
// after the other, so that each has the machine to itself. Run it several times (-count) and
// compare medians.
func BenchmarkBesidePgbench(b *testing.B) {
	for _, callers := range []int{1, 2, 16, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			s := newStore(b)
			q := open(b, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()})
			each(b, callers, func(n int64) error {
				_, _, err := q.Schedule(context.Background(), start, request(fmt.Sprint("job", n%100), fmt.Sprint(n)))
				return err
			})
			b.StopTimer()
			if err := q.Close(); err != nil {
				b.Fatal(err)
			}
			ours := float64(b.N) / b.Elapsed().Seconds()
			alone := pgbench(b, callers)
			b.ReportMetric(alone, "pgbench/s")
			b.ReportMetric(ours/alone, "ratio")
		})
	}
}

// tps matches the transactions per second in the output of pgbench.
var tps = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)

// pgbench returns how many transactions of testdata/schedule.pgbench Postgres makes per second
// in a new schema. It makes about as many as the benchmark has rounds.
func pgbench(b *testing.B, clients int) float64 {
	b.Helper()
	s := newStore(b)
	if err := open(b, pgqueue.Options{URL: s.url, Schema: s.schema, Log: zap.NewNop()}).Close(); err != nil {
		b.Fatal(err)
	}
	const lanes = `insert into %s.lanes (job, label, head)
		select 'job' || n, '', json_build_object('job', 'job' || n) from generate_series(0, 99) n`
	if _, err := pgtest.Connect(b, s.url).Exec(b.Context(), fmt.Sprintf(lanes, s.schema)); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), "pgbench", "-n", "-M", "prepared", "-c", strconv.Itoa(clients),
		"-t", strconv.Itoa(max(1, b.N/clients)), "-f", "testdata/schedule.pgbench", s.url)
	cmd.Env = append(os.Environ(), "PGOPTIONS=-c search_path="+s.schema+" -c enable_seqscan=off -c jit=off")
	out, err := cmd.CombinedOutput()
	found := tps.FindSubmatch(out)
	if err != nil || found == nil {
		b.Fatalf("pgbench, which comes with Postgres: %v\n%s", err, out)
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
