package buildtoken_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// greeter is a runner that needs no command. Package execrunner has the runner that executes
// one.
type greeter struct{}

func (greeter) Run(_ context.Context, b runner.Build, log io.Writer) runner.Result {
	for _, p := range b.Params {
		fmt.Fprintf(log, "hello %s\n", p.Value)
	}
	return runner.Result{Outcome: runner.Success}
}

// A program that keeps a queue in a file, defines one job, and triggers it.
func Example() {
	dir, err := os.MkdirTemp("", "buildtoken")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	queue, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(dir, "queue.db")})
	if err != nil {
		log.Fatal(err)
	}
	controller, err := buildtoken.Open(ctx, buildtoken.Options{Queue: queue, Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		log.Fatal(err)
	}

	quietPeriod := 50 * time.Millisecond
	site, err := definition.Compile(definition.Spec{Root: definition.Folder{
		Settings: job.Settings{QuietPeriod: &quietPeriod},
		Jobs: []definition.Job{{
			Name:   "RevolutionTest",
			Tokens: []definition.Token{{Digest: token.NewSecret("TacoTuesday").Digest()}},
			Params: []job.Param{{Name: "WHOM", Kind: job.KindString, Default: "nobody"}},
			Runner: greeter{},
		}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	detach, err := controller.Attach(ctx, buildtoken.Config{Sites: []*definition.Site{site}})
	if err != nil {
		log.Fatal(err)
	}

	trigger := buildtoken.Trigger{
		Caller: definition.Caller{Secret: token.NewSecret("TacoTuesday"), Presented: true, Remote: netip.MustParseAddr("192.0.2.7")},
		Action: buildtoken.BuildWithParameters,
		Job:    "RevolutionTest",
		Values: map[string][]string{"WHOM": {"world"}},
	}
	for range 2 { // the second joins the first, which has not started
		outcome, err := controller.Trigger(ctx, site, trigger)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("item %d, created: %v\n", outcome.Item.ID, outcome.Created)
	}

	// Close lets running builds end. Wait until the build has begun.
	for {
		entry, err := controller.Entry(ctx, site, 1)
		if err != nil {
			log.Fatal(err)
		}
		if entry.Build != nil && !entry.Build.Running() {
			fmt.Printf("build #%d: %s\n", entry.Build.Number, entry.Build.Result)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	console, err := controller.Log(ctx, "RevolutionTest", 1)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(io.NewSectionReader(console, 0, console.Size()))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(text))
	if err := console.Close(); err != nil {
		log.Fatal(err)
	}

	detach()
	if err := controller.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// item 1, created: true
	// item 1, created: false
	// build #1: SUCCESS
	// Started by remote host 192.0.2.7
	// Started by remote host 192.0.2.7
	// hello world
	// Finished: SUCCESS
}
