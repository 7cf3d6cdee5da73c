package jenkinsimport

import (
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/schedule"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// triggers reads what starts builds without a caller.
func (c *conversion) triggers(checkout *git) {
	for _, t := range c.root.Take("triggers").Peek() {
		switch t.Name {
		case "hudson.triggers.TimerTrigger":
			c.schedule(t, false)
		case "hudson.triggers.SCMTrigger":
			switch {
			case checkout == nil:
				c.note(t, "there is nothing to poll")
			case checkout.fromParam:
				c.note(t, "a branch that is a parameter is not polled")
			default:
				c.job.Poll = &Command{Words: []string{"sh", c.script(checkout.pollLines(), ".poll.sh")}}
				c.schedule(t, true)
			}
			t.TakeWhole()
		}
	}
}

// schedule reads times in Jenkins' syntax, which is the same here.
func (c *conversion) schedule(t *jenkinshome.Element, poll bool) {
	defer t.TakeWhole()
	spec := strings.TrimSpace(strings.ReplaceAll(t.TakeText("spec"), "\r\n", "\n"))
	if spec == "" {
		return // in Jenkins too, it never comes
	}
	if strings.Contains(spec, "{") {
		c.note(t, "the schedule is not imported: it has braces")
		return
	}
	if _, err := schedule.Parse(spec, c.job.FullName, time.UTC, false); err != nil {
		c.note(t, "the schedule is not imported: %v", err)
		return
	}
	c.job.Schedules = append(c.job.Schedules, Schedule{Spec: spec, Poll: poll})
}
