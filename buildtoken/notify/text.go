package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Subject names the job and the build, as in "site/deploy #12".
func (e *Event) Subject() string {
	if e.Number == 0 {
		return e.Job
	}
	return fmt.Sprintf("%s #%d", e.Job, e.Number)
}

// State describes in a few words what happened, as in "failed after 3s" or "is fixed".
func (e *Event) State() string {
	switch e.Kind {
	case queue.EventQueued:
		return "is queued"
	case queue.EventStarted:
		return "started"
	case queue.EventCancelled:
		return "was cancelled"
	case queue.EventEnded:
	}
	state := map[queue.Result]string{
		queue.Success: "succeeded", queue.Unstable: "is unstable", queue.Failure: "failed", queue.Aborted: "was aborted", queue.NotBuilt: "was not built",
	}[e.Result]
	switch e.Turn {
	case queue.OnFixed:
		state = "is fixed: it succeeded"
	case queue.OnRegressed:
		state += ", after a success"
	default:
	}
	if took := e.Took(); took > 0 {
		state += " (" + rough(took) + ")"
	}
	return state
}

// Detail is why the build ended as it did, or who cancelled the item.
func (e *Event) Detail() string {
	if e.By != "" {
		return "by " + e.By
	}
	return e.Reason
}

// maxDetail bounds what [Event.Text] shows of [Event.Detail], in bytes.
const maxDetail = 300

// Text describes the event to people in one line, as in "site/deploy #12 failed (3s): exit
// status 1". It contains no address.
func (e *Event) Text() string {
	text := e.Subject() + " " + e.State()
	if detail := queue.OneLine(e.Detail(), maxDetail); detail != "" {
		text += ": " + detail
	}
	return text
}

// rough returns a duration in at most two units.
func rough(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
