package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// now is the only place that reads the clock. It compares wall time on purpose, because the
// server and the builds record wall time.
func now() time.Time {
	return time.Now().Round(0) //nolint:forbidigo // the harness observes real processes
}

// pause waits. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d) //nolint:forbidigo // the harness observes real processes
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// dice is the randomness of one goroutine, determined by the seed and the goroutine.
type dice struct{ *rand.Rand }

func newDice(seed, stream uint64) dice {
	return dice{rand.New(rand.NewPCG(seed, stream))} //nolint:gosec // must be replayable
}

// chance returns true in n of 100 cases.
func (d dice) chance(n int) bool { return d.IntN(100) < n }

// within returns a duration below limit.
func (d dice) within(limit time.Duration) time.Duration { return time.Duration(d.Int64N(int64(limit))) }

// mostlyShort returns a duration below limit, half of the time below an eighth of it.
func (d dice) mostlyShort(limit time.Duration) time.Duration {
	if d.chance(50) {
		limit /= 8
	}
	return d.within(limit)
}

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }
