package pages

import (
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// mark is a state as people see it: a word, and a class that stands for icon
// and colour. Nothing is shown by the colour alone.
type mark struct{ Class, Word string }

//nolint:gochecknoglobals // constants
var (
	neverBuilt = mark{"never", "Never built"}
	stuckMark  = mark{"stuck", "Stuck"} // no server can run it
)

// resultMark is for the result of an ended build.
func resultMark(r queue.Result) mark {
	switch r {
	case queue.Success:
		return mark{"success", "Success"}
	case queue.Unstable:
		return mark{"unstable", "Unstable"}
	case queue.Failure:
		return mark{"failure", "Failed"}
	case queue.Aborted:
		return mark{"aborted", "Aborted"}
	case queue.NotBuilt:
		return mark{"notbuilt", "Not built"}
	}
	return mark{"notbuilt", string(r)}
}

// buildMark is for a build.
func buildMark(b queue.Build) mark {
	switch {
	case !b.Running():
		return resultMark(b.Result)
	case b.Abort != "":
		return mark{"running", "Stopping"}
	}
	return mark{"running", "Running"}
}

// entryMark is for an item.
func entryMark(e queue.Entry) mark {
	switch {
	case e.Cancelled != nil:
		return mark{"cancelled", "Cancelled"}
	case e.Build != nil:
		return buildMark(*e.Build)
	case web.NeverRuns(e):
		return stuckMark
	case e.State == queue.Waiting:
		return mark{"waiting", "Quiet period"}
	case e.State == queue.Blocked:
		return mark{"blocked", "Blocked"}
	}
	return mark{"ready", "Ready"}
}

// remedy is what to do if an item or a job waits for this reason, which time alone does not
// change; "" for other reasons.
func remedy(r queue.Reason) string {
	switch r {
	case queue.NoNode:
		return "Give a server this label, with node in its global options, or change the label of the job."
	case queue.NoServer:
		return "Put the job back into the configuration of a server, under the same name."
	case queue.JobDisabled:
		return "Remove disabled from the job in the configuration."
	case queue.RecordDamaged:
		return "The item cannot be repaired: trigger the build again."
	case queue.QuietPeriod, queue.BuildRunning, queue.NoExecutor:
	}
	return ""
}

// titled is the title of a page about something in a state. The state comes first, where
// the tab of a browser has room for it.
func titled(state mark, what string) string { return state.Word + " · " + what }

// plural is a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// span writes a duration in at most two units: 350 ms, 4.2 s, 12 s, 3 min 5 s,
// 2 h 10 min, 3 d 4 h. Below zero is zero.
func span(d time.Duration) string {
	d = max(d, 0)
	two := func(n time.Duration, unit string, rest time.Duration, sub string) string {
		text := strconv.FormatInt(int64(n), 10) + " " + unit
		if rest > 0 {
			text += " " + strconv.FormatInt(int64(rest), 10) + " " + sub
		}
		return text
	}
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return two(d/day, "d", d%day/time.Hour, "h")
	case d >= time.Hour:
		return two(d/time.Hour, "h", d%time.Hour/time.Minute, "min")
	case d >= time.Minute:
		return two(d/time.Minute, "min", d%time.Minute/time.Second, "s")
	case d >= 10*time.Second:
		return two(d/time.Second, "s", 0, "")
	case d >= time.Second:
		return strconv.FormatFloat(float64(d/(100*time.Millisecond))/10, 'f', 1, 64) + " s"
	}
	return strconv.FormatInt(int64(d/time.Millisecond), 10) + " ms"
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
	case n >= 1<<10:
		return strconv.FormatInt(n>>10, 10) + " KiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
