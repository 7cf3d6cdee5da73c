package caddymodule

import (
	"maps"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

// Schedule starts builds of a job, or polls it, at certain times.
type Schedule struct {
	// The times, in Jenkins' syntax: minute, hour, day of the month, month, day of the week.
	// `H` stands for a value that differs from job to job.
	Spec string `json:"spec"`

	// The time zone of the times, like `Europe/Berlin`. Default: that of the server.
	TimeZone string `json:"timezone,omitempty"`

	// Parameters of the builds. The others have their defaults. Placeholders like
	// `{env.NAME}` are replaced when the configuration is loaded.
	Params map[string]string `json:"params,omitempty"`

	// Polls the job instead of building it.
	Poll bool `json:"poll,omitempty"`

	// What happens about times that passed while no server ran: `none`, or `once`, one
	// build for those of the last 24 hours. Default: `none`.
	CatchUp string `json:"catch_up,omitempty"`

	// at is where the Caddyfile has it.
	at caddyfile.Dispenser
}

const (
	catchUpNone = "none"
	catchUpOnce = "once"
)

func (s Schedule) spec() definition.ScheduleSpec {
	return definition.ScheduleSpec{
		Spec: s.Spec, Zone: s.TimeZone, Params: maps.Clone(s.Params), Poll: s.Poll, CatchUp: s.CatchUp == catchUpOnce,
	}
}

// schedule reads when a job is built. What it sets is checked by checkSchedules.
func (p parser) schedule(j *Job) error {
	args, err := arguments(p.d, "schedule", 1, 1)
	if err != nil {
		return err
	}
	s := Schedule{Spec: args[0], at: *p.d}
	seen := once{}
	err = block(p.d, func(sub string) error {
		if err := seen.check(p.d, sub, "timezone", "poll", "catch_up"); err != nil {
			return err
		}
		switch sub {
		case "timezone":
			return p.text(&s.TimeZone, sub)
		case "poll":
			return p.flag(&s.Poll, sub)
		case "catch_up":
			if err := p.text(&s.CatchUp, sub); err != nil {
				return err
			}
			if s.CatchUp != catchUpNone && s.CatchUp != catchUpOnce {
				return p.d.Errf("catch_up: '%s' is neither %s nor %s", s.CatchUp, catchUpNone, catchUpOnce)
			}
			return nil
		case "param":
			return p.variable(&s.Params, sub)
		}
		return unknown(p.d, sub, "schedule")
	})
	j.Schedules = append(j.Schedules, s)
	return err
}

// checkSchedules checks schedules against the whole job, parts of which may stand below
// them. The errors have the line of the schedule.
func (p parser) checkSchedules(j *Job, full string) error {
	for _, s := range j.Schedules {
		if _, err := definition.CompileSchedule(full, s.spec(), j.Params, j.PollRaw != nil); err != nil {
			return s.at.Errf("job '%s': %v", full, err)
		}
	}
	return nil
}
