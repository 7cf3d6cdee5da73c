package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// now is the only place that reads the clock. Wall time is compared on purpose:
// it is what the server and the builds write down.
func now() time.Time {
	return time.Now().Round(0) //nolint:forbidigo // a program against real processes lives in real time
}

// pause waits, and says false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d) //nolint:forbidigo // a program against real processes lives in real time
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// dice is one goroutine's randomness, fixed by the seed and the goroutine.
type dice struct{ *rand.Rand }

func newDice(seed, stream uint64) dice {
	return dice{rand.New(rand.NewPCG(seed, stream))} //nolint:gosec // must be replayable
}

// chance is true in n of 100 cases.
func (d dice) chance(n int) bool { return d.IntN(100) < n }

// within is a duration below limit.
func (d dice) within(limit time.Duration) time.Duration { return time.Duration(d.Int64N(int64(limit))) }

// mostlyShort is a duration below limit, half of the time below an eighth of it.
func (d dice) mostlyShort(limit time.Duration) time.Duration {
	if d.chance(50) {
		limit /= 8
	}
	return d.within(limit)
}

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }
