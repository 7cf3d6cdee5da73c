package buildtoken_test

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/runner/execrunner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// BenchmarkDueToStart measures how long after its due instant a build's
// process is there: timer, claim, commit, log, fork, exec, and the loading of
// a small program, which tells the time as the first thing it does.
func BenchmarkDueToStart(b *testing.B) {
	dir := b.TempDir()
	q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		b.Fatal(err)
	}
	c, err := buildtoken.Open(b.Context(), buildtoken.Options{Queue: q, Dir: dir, Key: buildtoken.NewKey()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	}()
	date, err := execrunner.New(execrunner.Config{Command: "date", Args: []string{"+%s%N"}})
	if err != nil {
		b.Fatal(err)
	}
	secret := token.NewSecret("TacoTuesday")
	d, err := buildtoken.Define(buildtoken.Spec{Root: buildtoken.Folder{Jobs: []buildtoken.Job{{
		Name: "date", Runner: date, Tokens: []buildtoken.Token{{Digest: secret.Digest()}},
	}}}})
	if err != nil {
		b.Fatal(err)
	}
	detach, err := c.Attach(b.Context(), buildtoken.Config{Definitions: []*buildtoken.Definition{d}})
	if err != nil {
		b.Fatal(err)
	}
	defer detach()
	var late []time.Duration
	delay := "10" // milliseconds
	for b.Loop() {
		out, err := c.Trigger(b.Context(), d, buildtoken.Trigger{
			Caller: buildtoken.Caller{Secret: secret, Presented: true}, Action: buildtoken.Build, Job: "date", Delay: &delay,
		})
		if err != nil {
			b.Fatal(err)
		}
		late = append(late, startOf(b.Context(), b, c, out.Item.ID, d).Sub(out.Item.Due))
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op") // is the delay, mostly
}

// startOf waits for the item's build and returns the time that it printed.
func startOf(ctx context.Context, b *testing.B, c *buildtoken.Controller, id int64, d *buildtoken.Definition) time.Time {
	b.Helper()
	for {
		entry, err := c.Entry(ctx, d, id)
		if err != nil {
			b.Fatal(err)
		}
		if entry.Build == nil || entry.Build.Running() {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		log, err := c.Log(ctx, "date", entry.Build.Number)
		if err != nil {
			b.Fatal(err)
		}
		text := make([]byte, log.Size())
		if _, err := log.ReadAt(text, 0); err != nil && len(text) == 0 {
			b.Fatal(err)
		}
		if err := log.Close(); err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
				return time.Unix(0, ns)
			}
		}
		b.Fatalf("no time in the log:\n%s", text)
	}
}
