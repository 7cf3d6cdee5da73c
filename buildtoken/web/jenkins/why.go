package jenkins

import (
	"fmt"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// why says why a queued item is not started, in Jenkins' words; "" if it has left.
func (v *view) why(e queue.Entry) string {
	eta := ""
	if e.State == queue.Blocked && e.Blockage.Reason == queue.BuildRunning {
		eta = v.eta(e.Item.Job, e.Blockage.Number)
	}
	return why(v.now, e, eta)
}

// why needs to be told when the running build is expected to end; "" leaves it out.
func why(now time.Time, e queue.Entry, eta string) string {
	if e.State == queue.Left {
		return ""
	}
	switch b := e.Blockage; b.Reason {
	case queue.QuietPeriod:
		return "In the quiet period. Expires in " + timeSpan(b.Until.Sub(now))
	case queue.BuildRunning:
		text := "Build #" + strconv.FormatInt(b.Number, 10) + " is already in progress"
		if eta != "" {
			text += " (ETA: " + eta + ")"
		}
		return text
	case queue.JobDisabled:
		return "The job is disabled"
	case queue.NoExecutor:
		if b.Label != "" {
			return "Waiting for next available executor on ‘" + b.Label + "’"
		}
		return "Waiting for next available executor"
	case queue.NoNode:
		return "There are no nodes with the label ‘" + b.Label + "’"
	default:
		return "Not started: " + string(b.Reason)
	}
}

// eta is how long a running build will still take, as far as earlier ones tell.
func (v *view) eta(full string, number int64) string {
	estimate := v.estimate(full)
	b, err := v.ctl.Build(v.ctx(), full, number)
	if err != nil || estimate < 0 {
		return "N/A"
	}
	left := b.Started.Add(estimate).Sub(v.now)
	if left <= 0 {
		return "N/A"
	}
	return timeSpan(left)
}

// timeSpan writes a duration as Jenkins does: two units if the first is below
// ten, else one, and a fraction below ten seconds.
func timeSpan(d time.Duration) string {
	d = max(d, 0)
	const day = 24 * time.Hour
	for _, u := range []struct {
		unit, next time.Duration
		name, sub  string
	}{
		{365 * day, 30 * day, "yr", "mo"},
		{30 * day, day, "mo", "day"},
		{day, time.Hour, "day", "hr"},
		{time.Hour, time.Minute, "hr", "min"},
		{time.Minute, time.Second, "min", "sec"},
	} {
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

// amount is a number with its unit; days alone have a plural.
func amount(n int64, unit string) string {
	if unit == "day" && n != 1 {
		unit = "days"
	}
	return strconv.FormatInt(n, 10) + " " + unit
}
