package pages

import (
	"slices"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

// scheduleView is a schedule of a job.
type scheduleView struct {
	// Next is when it runs next, and At the same on the clock of its time zone.
	Next time.Time
	At   string
	// Spec has its times as the configuration has them.
	Spec string
	// Poll is set if it polls for changes instead of starting a build.
	Poll bool
}

// specRunes is how much of a spec is shown, in characters.
const specRunes = 120

// schedulesOf returns the schedules of a job, soonest first; none if it is disabled.
func schedulesOf(j *definition.Compiled, now time.Time) []scheduleView {
	var all []scheduleView
	if j.Disabled {
		return nil
	}
	for _, s := range j.Schedules {
		next, _ := s.Next(now) // the configuration is refused if a schedule never runs
		zone := next.Location().String()
		if next.Location() == time.Local {
			zone, _ = next.Zone()
			zone += ", the time of the server"
		}
		all = append(all, scheduleView{Next: next, At: next.Format("15:04 ") + zone, Spec: timesOf(s.Spec.Spec), Poll: s.Spec.Poll})
	}
	slices.SortStableFunc(all, func(a, b scheduleView) int { return a.Next.Compare(b.Next) })
	return all
}

// timesOf returns the lines of a spec with times, on one line.
func timesOf(spec string) string {
	var lines []string
	for line := range strings.Lines(spec) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "TZ=") {
			lines = append(lines, line)
		}
	}
	return shortened(strings.Join(lines, "; "), specRunes)
}
