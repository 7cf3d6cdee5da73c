package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// entry is a line of the ledger, which the builds write.
type entry struct {
	Job      string            `json:"job"`
	Number   int64             `json:"number"`
	Item     int64             `json:"item"`
	What     string            `json:"what"` // start, alive, end, beside: another build of the job was running
	At       time.Time         `json:"at"`
	Node     string            `json:"node,omitempty"`
	Beside   int64             `json:"beside,omitempty"` // the item of the other build
	Executor int               `json:"executor"`
	Params   map[string]string `json:"params,omitempty"`
	Cause    string            `json:"cause,omitempty"`
}

// runBuild is the command of a job: it records in the ledger that it started and that it ended.
// It returns the exit status.
func runBuild(args []string) int {
	flags := flag.NewFlagSet("build", flag.ExitOnError)
	ledger := flags.String("ledger", "", "file to write to")
	lock := flags.String("lock", "", "file that only one build of the job may hold")
	work := flags.Duration("work", 0, "how long the build takes")
	stubborn := flags.Bool("stubborn", false, "ignore SIGTERM")
	exit := flags.Int("exit", 0, "exit status")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *stubborn {
		signal.Ignore(syscall.SIGTERM)
	}
	if *lock != "" {
		if holder, ok := takeLock(*lock, number("QUEUE_ID")); !ok {
			write(*ledger, entry{What: "beside", Beside: holder})
		}
	}
	write(*ledger, entry{What: "start"})
	say("working for", *work)
	for left := *work; left > 0; left -= signEvery {
		if left < *work {
			write(*ledger, entry{What: "alive"})
		}
		time.Sleep(min(left, signEvery)) //nolint:forbidigo // that is all that the build does
	}
	write(*ledger, entry{What: "end"})
	return *exit
}

// signEvery is the interval at which a long build writes a sign of life.
const signEvery = 250 * time.Millisecond

// write appends one line in one write.
func write(ledger string, e entry) {
	e.Job, e.Number, e.Item = os.Getenv("JOB_NAME"), number("BUILD_NUMBER"), number("QUEUE_ID")
	e.At, e.Node, e.Executor = now(), os.Getenv("NODE_NAME"), int(number("EXECUTOR_NUMBER"))
	if e.What == "start" {
		e.Cause = os.Getenv("BUILD_CAUSE")
		e.Params = map[string]string{}
		for _, name := range []string{"VERSION", "MODE", "LOUD"} {
			if value, ok := os.LookupEnv(name); ok {
				e.Params[name] = value
			}
		}
	}
	raw, err := json.Marshal(e)
	must(err)
	must(appendLine(ledger, raw))
}

// appendLine appends one line in one write, so that the lines of several builds do not mix.
func appendLine(ledger string, line []byte) error {
	file, err := os.OpenFile(ledger, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600) //nolint:gosec // the harness names it
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

func number(name string) int64 {
	n, err := strconv.ParseInt(os.Getenv(name), 10, 64)
	must(err)
	return n
}

// must ends a build that cannot do its work, with a status that no job plans.
func must(err error) {
	if err != nil {
		say("torture:", err)
		os.Exit(99)
	}
}

// runPoll is the command of a poll: two times out of three there are changes.
func runPoll() int {
	if rand.IntN(3) == 0 { //nolint:gosec // any randomness will do
		return 1
	}
	return 0
}
