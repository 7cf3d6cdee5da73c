package web

import (
	"fmt"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// stuckAfter is how long an item waits for an executor before it counts as stuck.
const stuckAfter = 24 * time.Hour

// Stuck reports whether a queued item needs someone to act: it never runs, or it has
// waited for an executor for a day.
func Stuck(now time.Time, e queue.Entry) bool {
	return NeverRuns(e) || (e.State == queue.Buildable && now.Sub(e.Item.Due) > stuckAfter)
}

// NeverRuns reports whether no live server can run a queued item, or its record is damaged.
func NeverRuns(e queue.Entry) bool {
	switch e.Blockage.Reason {
	case queue.NoNode, queue.NoServer, queue.RecordDamaged:
		return e.State != queue.Left
	default:
		return false
	}
}

// State returns in one word where an item is: waiting, blocked, buildable, then
// running and ended, or cancelled.
func State(e queue.Entry) string {
	switch {
	case e.Cancelled != nil:
		return "cancelled"
	case e.Build == nil:
		return string(e.State)
	case e.Build.Running():
		return "running"
	}
	return "ended"
}

// Why returns why a queued item is not started, in Jenkins' words; "" if it has left
// the queue. left is the rest of the quiet period, and eta when the running build is
// expected to end; either is left out if it is "".
func Why(e queue.Entry, left, eta string) string {
	if e.State == queue.Left {
		return ""
	}
	switch b := e.Blockage; b.Reason {
	case queue.QuietPeriod:
		if left == "" {
			return "In the quiet period"
		}
		return "In the quiet period. Expires in " + left
	case queue.BuildRunning:
		text := "Build #" + strconv.FormatInt(b.Number, 10) + " is already in progress"
		if eta != "" {
			text += " (ETA: " + eta + ")"
		}
		return text
	case queue.JobDisabled:
		return "The job is disabled"
	case queue.NoExecutor:
		text := "Waiting for next available executor"
		if b.Remote {
			text = "Waiting for another remote build to end"
		}
		if b.Label != "" {
			text += " on ‘" + b.Label + "’"
		}
		return text
	case queue.NoServer:
		return "No server has this job. Unless it comes back, the item ends as NOT_BUILT"
	case queue.NoNode:
		return "There are no nodes with the label ‘" + b.Label + "’"
	default:
		return "Not started: " + string(b.Reason)
	}
}

// WhyNow is [Why] with the rest of the quiet period at an instant.
func WhyNow(now time.Time, e queue.Entry, eta string) string {
	return Why(e, TimeSpan(e.Blockage.Until.Sub(now)), eta)
}

// TimeSpan returns a duration as Jenkins writes it: two units if the first is below
// ten, else one, and a fraction below ten seconds.
func TimeSpan(d time.Duration) string {
	d = max(d, 0)
	for _, u := range spanUnits {
		if d < u.unit {
			continue
		}
		first, second := int64(d/u.unit), int64(d%u.unit/u.next)
		text := amount(first, u.name)
		if first < 10 {
			text += " " + amount(second, u.sub)
		}
		return text
	}
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%d sec", d/time.Second)
	case d >= time.Second:
		return strconv.FormatFloat(float64(d/(100*time.Millisecond))/10, 'f', -1, 64) + " sec"
	case d >= 100*time.Millisecond:
		return strconv.FormatFloat(float64(d/(10*time.Millisecond))/100, 'f', -1, 64) + " sec"
	default:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
}

const day = 24 * time.Hour

//nolint:gochecknoglobals // a constant table
var spanUnits = []struct {
	unit, next time.Duration
	name, sub  string
}{
	{365 * day, 30 * day, "yr", "mo"},
	{30 * day, day, "mo", "day"},
	{day, time.Hour, "day", "hr"},
	{time.Hour, time.Minute, "hr", "min"},
	{time.Minute, time.Second, "min", "sec"},
}

// amount returns a number with its unit; only days have a plural.
func amount(n int64, unit string) string {
	if unit == "day" && n != 1 {
		unit = "days"
	}
	return strconv.FormatInt(n, 10) + " " + unit
}
