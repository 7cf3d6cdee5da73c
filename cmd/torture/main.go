package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] { // the commands of builds and scripts
		case "build":
			os.Exit(runBuild(os.Args[2:]))
		case "mine":
			os.Exit(runMine(os.Args[2:]))
		case "poll":
			os.Exit(runPoll())
		case "postgres":
			os.Exit(runPostgres())
		}
	}
	var o options
	flag.StringVar(&o.binary, "binary", "bin/caddy", "Caddy with build_token")
	flag.DurationVar(&o.length, "for", time.Minute, "how long to go on")
	flag.IntVar(&o.kills, "kills", 0, "end after so many kills; 0: when the time is over")
	flag.IntVar(&o.servers, "servers", 0, "so many servers share a queue in Postgres; 0: one, with a queue in a file")
	flag.BoolVar(&o.consoles, "consoles", true, "of several servers, each must show every log")
	flag.IntVar(&o.clients, "clients", 4, "clients at a time")
	flag.BoolVar(&o.relay, "relay", false, "builds are those of a Jenkins, which fails too")
	flag.BoolVar(&o.notify, "notify", false, "builds notify a receiver, which fails too")
	flag.StringVar(&o.reference, "reference", "", "verify signatures of notifications with this script and node too (testdata/clients/npm/verify.mjs); empty: do not")
	flag.BoolVar(&o.setBack, "setback", false, "the database of several servers is replaced by earlier states of itself")
	flag.BoolVar(&o.pooler, "pooler", false, "of several servers, each reaches the database through PgBouncer in session mode")
	flag.Int64Var(&o.rolling, "rolling", 0, "restart servers one after the other behind HAProxy during so many triggers, and do nothing else")
	flag.Uint64Var(&o.seed, "seed", 0, "what to try; 0: another each time")
	flag.Parse()
	if o.seed == 0 {
		o.seed = uint64(now().UnixNano()) % 1_000_000_007
	}
	os.Exit(torture(o))
}

// torture runs the harness, reports the result, and returns the exit status.
func torture(o options) int {
	say("seed", o.seed)
	begun := now()
	found, dir, counts, more, err := trial(o)
	if !o.relay && !o.notify && !o.setBack && o.rolling == 0 {
		say(counts.report(now().Sub(begun)))
	}
	if more != "" {
		say(more)
	}
	if len(found) == 0 && err == nil {
		say("nothing was lost, nothing happened twice")
		return 0
	}
	for _, what := range found {
		say("WRONG:", what)
	}
	if err != nil && !errors.Is(err, errFound) {
		say("ended early:", err)
	}
	say("kept:", dir)
	say("replay:", fmt.Sprintf("go run ./cmd/torture -binary %s -for %v -kills %d -servers %d -clients %d -relay=%v -notify=%v -reference %q -setback=%v -pooler=%v -rolling %d -seed %d",
		o.binary, o.length, o.kills, o.servers, o.clients, o.relay, o.notify, o.reference, o.setBack, o.pooler, o.rolling, o.seed))
	return 1
}

// trial runs the harness in a new directory, which is removed if there was no failure.
func trial(o options) (found []string, dir string, c counts, more string, err error) {
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return nil, "", c, "", fmt.Errorf("find the binary: %w", err)
	}
	if dir, err = os.MkdirTemp("", "torture-"); err != nil {
		return nil, "", c, "", fmt.Errorf("make a folder: %w", err)
	}
	ctx, interrupted := signal.NotifyContext(context.Background(), os.Interrupt)
	defer interrupted()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if o.relay {
		found, err = trialRelays(ctx, o, dir)
		return found, dir, c, "", err
	}
	if o.rolling > 0 {
		found, err = trialRolling(ctx, o, dir)
		return found, dir, c, "", err
	}
	if o.notify {
		found, err = trialNotifies(ctx, o, dir)
		return found, dir, c, "", err
	}
	if o.setBack {
		found, err = trialSetBacks(ctx, o, dir, func() { stop(errFound) })
		return found, dir, c, "", err
	}
	m, run, release, err := prepare(ctx, o, dir, func() { stop(errFound) })
	if err != nil {
		return nil, dir, c, "", err
	}
	defer release()
	err = run(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.found) == 0 && err == nil {
		err = os.RemoveAll(dir)
	}
	if m.fates != nil {
		more = m.reportShared()
	}
	return m.found, dir, m.counts, more, err
}

// prepare creates the harness of the options.
func prepare(ctx context.Context, o options, dir string, stop func()) (m *model, run func(context.Context) error, release func(), err error) {
	if o.servers == 0 {
		h, release, err := newHarness(ctx, o, dir, stop)
		if err != nil {
			return nil, nil, nil, err
		}
		return h.m, h.run, release, nil
	}
	c, release, err := newCluster(ctx, o, dir, stop)
	if err != nil {
		return nil, nil, nil, err
	}
	return c.m, c.run, release, nil
}

// report returns what a run did, in a few lines.
func (c counts) report(took time.Duration) string {
	return fmt.Sprintf(`%v: %d kills (%d while starting), %d orderly stops, %d looks at everything
%d triggers: %d queued, %d joined, %d refused, %d without an answer (%d of those are there)
%d sent again with their key, of which %d had no answer before
%d builds (%d aborted), %d dropped records, %d cancels, %d stops of builds
%d reloads, %d refused reloads, %d requests cut off by them`,
		took.Round(time.Second), c.kills+c.early, c.early, c.stops, c.looks,
		c.triggers, c.accepted, c.joined, c.refused, c.unknown, c.learned,
		c.again, c.resolved,
		c.builds, c.aborted, c.dropped, c.cancels, c.buildStops,
		c.reloads, c.reloadsRefused, c.cutOff)
}

// say writes a line to standard output. An error does not matter.
func say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }

func sayf(format string, words ...any) { _, _ = fmt.Fprintf(os.Stdout, format, words...) }
