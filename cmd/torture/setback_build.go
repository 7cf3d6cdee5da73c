package main

import (
	"encoding/json"
	"flag"
	"hash/fnv"
	"os"
	"strings"
	"time"
)

// sign is a line of the ledger of the set-back scenario. A build writes one when it
// begins, one every mineEvery, and one when it ends.
type sign struct {
	What   string    `json:"what"` // start, alive, end, or file: the uploaded file is not its own
	At     time.Time `json:"at"`
	ID     string    `json:"id"` // the parameter that only this trigger has
	Job    string    `json:"job"`
	Item   int64     `json:"item"`
	Number int64     `json:"number"`
	Node   string    `json:"node"`
	Life   string    `json:"life"` // of the server that runs the build
	PID    int       `json:"pid"`
	File   string    `json:"file,omitempty"`
}

// mine is the line that a build writes to its log. It names all that the record of
// the build must agree with.
const mine = "mine is %s, item %d, number %d\n"

// done is the last line that a build writes.
const done = "done with %s\n"

// fateOf returns how long a build takes, and the result with which it ends. Both follow
// from its ID, so a record with the result of another build shows.
func fateOf(job, id string) (work time.Duration, result string) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // it never fails
	d := newDice(h.Sum64(), 0)
	work, result = d.mostlyShort(4*time.Second), pick(d, []string{"SUCCESS", "FAILURE"})
	if strings.HasPrefix(job, "slow/") {
		work += 4 * time.Second
	}
	return work, result
}

// runMine is what the jobs of the set-back scenario run. It returns the exit status.
func runMine(args []string) int {
	flags := flag.NewFlagSet("mine", flag.ExitOnError)
	ledger := flags.String("ledger", "", "file to write to")
	life := flags.String("life", "", "of the server")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	s := sign{
		ID: os.Getenv("ID"), Job: os.Getenv("JOB_NAME"), Item: number("QUEUE_ID"), Number: number("BUILD_NUMBER"),
		Node: os.Getenv("NODE_NAME"), Life: *life, PID: os.Getpid(),
	}
	put := func(what string) {
		s.What, s.At = what, now()
		raw, err := json.Marshal(s)
		must(err)
		must(appendLine(*ledger, raw))
		sayf(mine, s.ID, s.Item, s.Number)
	}
	put("start")
	if content, err := os.ReadFile("FILE"); err != nil || string(content) != s.ID {
		s.File = string(content)
		put("file")
	}
	left, result := fateOf(s.Job, s.ID)
	for ; left > 0; left -= mineEvery {
		time.Sleep(min(left, mineEvery)) //nolint:forbidigo // that is all that the build does
		put("alive")
	}
	put("end")
	sayf(done, s.ID)
	if result == "FAILURE" {
		return 1
	}
	return 0
}

// mineEvery is how often a build writes that it is there. Two builds that run at once
// for less than that may not be noticed.
const mineEvery = 100 * time.Millisecond
